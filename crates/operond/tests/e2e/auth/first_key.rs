//! The first start on a store makes an admin's key, for the eyes of one person.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use operond_store_postgres::cluster::{Cluster, Kind};

use crate::auth::soon;
use crate::support::asking::{self, Asking, operond, printed, secret_of, sqlite};
use crate::support::command;
use crate::support::served::{ended, migrated};

#[test]
fn the_first_start_alone_writes_a_key_for_its_owner_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (sqlite(folder.path()), folder.path().join("admin.key"));
    let mut first = Asking::on(&store, &[]);
    assert_eq!(first.admin_key_file.as_deref(), Some(&*file));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let admin = first.admin();
    assert!(printed(first.http(), &admin, &["whoami"]).contains("admin"));
    let made = first.key(&admin, "ci", "acme", "producer");
    first.stop();

    let second = Asking::on(&store, &[]);
    assert_eq!(second.admin_key_file, None, "{:?}", second.said());
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), admin);
    for key in [&admin, &made] {
        printed(second.http(), key, &["whoami"]);
        for (stdout, log) in [first.said(), second.said()] {
            assert!(!log.is_empty(), "it logs all it can");
            assert!(!stdout.contains(secret_of(key)) && !log.contains(secret_of(key)), "a key was said");
        }
    }
    assert_eq!(left(folder.path(), "admin.key"), ["admin.key"]);
}

#[test]
fn a_key_that_is_sent_is_said_by_no_log_of_server_or_client_whatever_face_it_is_sent_to() {
    let server = Asking::start(&[]);
    let admin = server.admin();
    let bearer = format!("Bearer {admin}");
    let answer =
        crate::support::http::call(server.http(), "GET", "/api/v1/operations", &[("authorization", &bearer)], "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut client = asking::client(server.http(), &admin, &["whoami"]);
    let said = ended(client.env("OPEROND_LOG", "trace"));
    assert!(said.status.success() && !said.stderr.is_empty(), "{said:?}");
    assert!(!String::from_utf8_lossy(&said.stderr).contains(secret_of(&admin)), "the client logged the key");

    // One that is wrong may be right elsewhere.
    let wrong = format!("opk_0123456789abcdef_{}", "7".repeat(64));
    let refused = operond(server.http(), &wrong, &["whoami"]);
    assert!(!String::from_utf8_lossy(&refused.stderr).contains(secret_of(&wrong)), "{refused:?}");
    let log = server.said().1;
    assert!(!log.contains(secret_of(&admin)) && !log.contains(secret_of(&wrong)), "the server logged a key");
}

#[test]
fn the_first_key_is_written_where_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("elsewhere.key");
    let server = Asking::on(&sqlite(folder.path()), &["--admin-key-file", file.to_str().unwrap()]);
    assert_eq!(server.admin_key_file.as_deref(), Some(&*file));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    printed(server.http(), &server.admin(), &["keys", "list"]);
    assert_eq!(left(folder.path(), ".key"), ["elsewhere.key"]);
}

#[test]
fn a_second_store_in_a_folder_does_not_take_the_place_of_the_first_ones_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Asking::on(&sqlite(folder.path()), &[]);
    let admin = first.admin();
    first.stop();

    let store = format!("sqlite:{}", folder.path().join("second.db").display());
    let notes = folder.path().join("notes.txt");
    fs::write(&notes, "precious").unwrap();
    let taken = first.admin_key_file.clone().unwrap();
    for (taken, arguments) in [(&taken, &[][..]), (&notes, &["--admin-key-file", notes.to_str().unwrap()])] {
        let before = fs::read_to_string(taken).unwrap();
        let refused = Asking::started(&store, arguments).err().expect("its key has no place");
        let said = refused.lines().find(|line| line.contains("error:")).unwrap_or_default();
        for part in ["second.db", taken.to_str().unwrap(), "another store", "move it away", "--admin-key-file FILE"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(fs::read_to_string(taken).unwrap(), before);
        assert_eq!(left(folder.path(), ".new"), [""; 0]);
    }
    let file = folder.path().join("second.key");
    let second = Asking::on(&store, &["--admin-key-file", file.to_str().unwrap()]);
    assert_eq!(printed(second.http(), &second.admin(), &["keys", "list", "-o", "id"]).lines().count(), 1);
    let first = Asking::on(&sqlite(folder.path()), &[]);
    printed(first.http(), &admin, &["whoami"]);
}

#[test]
fn a_key_that_a_start_has_not_put_into_its_place_is_told_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(folder.path());
    let mut first = Asking::on(&store, &[]);
    first.stop();
    let file = first.admin_key_file.as_ref().unwrap();
    let left = file.with_file_name(format!("admin.key.{}.new", asking::id_of(&first.admin())));
    fs::rename(file, &left).unwrap();

    let second = Asking::on(&store, &[]);
    let token = format!("@{}", left.display());
    assert!(second.said().1.contains(&format!("`operond whoami --token {token}`")), "{}", second.said().1);
    printed(second.http(), &token, &["whoami"]);
}

#[test]
fn where_the_first_key_cannot_be_written_there_is_none_and_the_next_start_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(folder.path());
    let taken = folder.path().join("taken.key");
    fs::create_dir(&taken).unwrap();
    for place in [folder.path().join("nowhere/admin.key"), "/proc/admin.key".into(), taken] {
        let place = place.to_str().unwrap();
        let refused = Asking::started(&store, &["--admin-key-file", place]).err().expect("there is no such place");
        let said = refused.lines().find(|line| line.contains("error:")).unwrap_or_default();
        assert!(said.contains("the first key was to be written to") && said.contains(place), "{said}");
        assert_eq!(left(folder.path(), ".new"), [""; 0]);
    }
    let server = Asking::on(&store, &[]);
    assert_eq!(printed(server.http(), &server.admin(), &["keys", "list", "-o", "id"]).lines().count(), 1);
}

#[test]
fn a_database_without_keys_is_not_served_before_it_is_said_where_the_first_one_goes() {
    let store = migrated(Cluster::shared(Kind::Fast));
    let refused = ended(&mut asking::serve(&store, &[]));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let said = said.lines().find(|line| line.contains("error:")).unwrap_or_default();
    assert!(said.contains("this store has no keys yet") && said.contains("--admin-key-file"), "{said}");
    assert!(refused.stdout.is_empty(), "it is not ready: {refused:?}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin.key");
    let mut first = Asking::on(&store, &["--admin-key-file", file.to_str().unwrap()]);
    assert_eq!(printed(first.http(), &first.admin(), &["keys", "list", "-o", "id"]).lines().count(), 1);
    first.stop();
    // From now on it need not be said.
    let second = Asking::on(&store, &[]);
    printed(second.http(), &first.admin(), &["whoami"]);
}

#[test]
fn where_every_key_is_lost_a_start_that_asks_nobody_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(folder.path());
    let mut server = Asking::on(&store, &[]);
    let lost = server.admin();
    let kept = operond(server.http(), &lost, &["keys", "revoke", asking::id_of(&lost)]);
    let said = String::from_utf8_lossy(&kept.stderr);
    assert!(kept.status.code() == Some(1) && said.contains("say --last; nothing was revoked"), "{said}");
    printed(server.http(), &lost, &["keys", "revoke", "--last", asking::id_of(&lost)]);
    assert!(!operond(server.http(), &lost, &["whoami"]).status.success());
    server.stop();

    let mut open = Asking::on(&store, &["--insecure-no-auth"]);
    assert_eq!(open.admin_key_file, None, "the store has had keys");
    let key = asking::create_key(open.http(), "", &["admin", "--tenant", "*", "--role", "admin"]);
    open.stop();
    let server = Asking::on(&store, &[]);
    printed(server.http(), &key, &["keys", "list"]);
    assert!(!operond(server.http(), &lost, &["whoami"]).status.success());
    assert!(!operond(server.http(), "", &["whoami"]).status.success());
}

#[test]
fn keys_move_with_their_store_and_no_other_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (file, database) = (sqlite(folder.path()), migrated(Cluster::shared(Kind::Fast)));
    let mut server = Asking::on(&file, &[]);
    let admin = server.admin();
    let [good, revoked] = ["good", "revoked"].map(|name| server.key(&admin, name, "acme", "viewer"));
    printed(server.http(), &admin, &["keys", "revoke", asking::id_of(&revoked)]);
    server.stop();
    let copied = ended(command().args(["copy", "--from", &file, "--to", &database]));
    assert!(copied.status.success(), "{copied:?}");

    let server = Asking::on(&database, &[]);
    assert_eq!(server.admin_key_file, None);
    printed(server.http(), &admin, &["keys", "list"]);
    printed(server.http(), &good, &["list"]);
    assert!(!operond(server.http(), &revoked, &["list"]).status.success());
}

#[test]
fn of_servers_that_start_at_once_one_makes_the_first_key_and_no_other_file_is_left() {
    for round in 0..ROUNDS {
        let store = migrated(Cluster::shared(Kind::Fast));
        let folder = tempfile::tempdir().unwrap();
        // In turn files of their own, and one for all.
        let file = |server: usize| folder.path().join(format!("{}.key", if round % 2 == 0 { server } else { 0 }));
        let start = |server| Asking::spawn(&store, &["--admin-key-file", file(server).to_str().unwrap()]);
        let servers: Vec<Asking> = [0, 1, 2].map(start).into_iter().map(|server| server.ready().unwrap()).collect();
        let made: Vec<_> = servers.iter().filter(|server| server.admin_key_file.is_some()).collect();
        assert_eq!(made.len(), 1, "one of them says that it has made the key");
        let admin = made[0].admin();
        for server in &servers {
            soon("the key is known to all", || operond(server.http(), &admin, &["whoami"]).status.success());
        }
        assert_eq!(printed(servers[0].http(), &admin, &["keys", "list", "-o", "id"]).trim(), asking::id_of(&admin));
        assert_eq!(left(folder.path(), "").len(), 1);
    }
}

/// Files of a folder with `part` in their names.
fn left(folder: &Path, part: &str) -> Vec<String> {
    let names = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(part)).collect()
}

/// As often servers start at once: who is faster is chance.
const ROUNDS: usize = 4;
