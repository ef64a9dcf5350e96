//! Makes the OpenAPI document from the `.proto` files: paths from their HTTP annotations, words from their comments.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use protox::prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};
use serde_json::{Map, Value as Json, json};

/// The document as text, indented. `descriptors` is an encoded `FileDescriptorSet` with source positions.
///
/// # Errors
/// Descriptors that cannot be decoded, or an annotation of a form that is not used here.
pub(crate) fn document(descriptors: &[u8]) -> Result<Vec<u8>> {
    let pool = DescriptorPool::decode(descriptors).context("decoding the descriptors")?;
    let mut builder = Builder { pool: &pool, schemas: BTreeSet::new() };
    let mut paths = Map::new();
    let mut tags = Vec::new();
    for service in pool.services() {
        tags.push(json!({
            "name": service.full_name(),
            "description": comment(&service.parent_file(), service.path()),
        }));
        for method in service.methods() {
            for binding in bindings(&pool, &method)? {
                let operations = paths.entry(binding.path()).or_insert_with(|| json!({}));
                operations[&binding.verb] = builder.operation(&method, &binding);
            }
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "operond",
            "summary": "The server side of long-running operations",
            "version": "v1",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "tags": tags,
        "paths": paths,
        "components": { "schemas": builder.schemas()? },
    });
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

/// One HTTP rule of a method.
struct Binding {
    verb: String,
    template: String,
    body: String,
    /// Which of the rules of its method it is.
    index: usize,
}

/// The rules of a method; none where it has no annotation.
fn bindings(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Vec<Binding>> {
    let extension = pool.get_extension_by_name("google.api.http").context("the annotations are not in the set")?;
    let options = method.options();
    if !options.has_extension(&extension) {
        return Ok(Vec::new());
    }
    let rule = options.get_extension(&extension).into_owned();
    let first = rule.as_message().context("an HTTP rule is a message")?;
    let more = first.get_field_by_name("additional_bindings").map(std::borrow::Cow::into_owned);
    let more = more.as_ref().and_then(Value::as_list).unwrap_or_default().iter().filter_map(Value::as_message);
    let rules = std::iter::once(first).chain(more).enumerate();
    rules
        .map(|(index, rule)| {
            let text = |name: &str| {
                let value = rule.get_field_by_name(name);
                value.and_then(|value| value.as_str().map(str::to_owned)).filter(|text| !text.is_empty())
            };
            let found = VERBS.iter().find_map(|verb| Some(((*verb).to_owned(), text(verb)?)));
            let (verb, template) = found.with_context(|| format!("{} has another verb", method.full_name()))?;
            Ok(Binding { verb, template, body: text("body").unwrap_or_default(), index })
        })
        .collect()
}

impl Binding {
    /// The path as OpenAPI has it: a variable is one segment, so the fixed parts of a pattern stand beside it.
    fn path(&self) -> String {
        self.template
            .replace("{name=operations}", "operations")
            .replace("{name=operations/*}", "operations/{operation}")
            .replace("{name=**/operations}", "{parent}/operations")
            .replace("{name=**/operations/*}", "{parent}/operations/{operation}")
            .replace("{kind.name}", "{name}")
    }

    /// The variables of the path.
    fn variables(&self) -> Vec<String> {
        self.path().split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned())).collect()
    }

    /// Whether the member `name` of the request is said by the path.
    fn in_path(&self, name: &str) -> bool {
        self.template.contains(&format!("{{{name}}}")) || self.template.contains(&format!("{{{name}="))
    }
}

struct Builder<'a> {
    pool: &'a DescriptorPool,
    /// Full names of the messages and enums that are referred to.
    schemas: BTreeSet<String>,
}

impl Builder<'_> {
    fn operation(&mut self, method: &MethodDescriptor, binding: &Binding) -> Json {
        let nth = if binding.index == 0 { String::new() } else { format!(".{}", binding.index + 1) };
        let service = method.parent_service();
        let mut operation = json!({
            "operationId": format!("{}{nth}", method.full_name()),
            "tags": [service.full_name()],
            "description": comment(&method.parent_file(), method.path()),
            "parameters": self.parameters(&method.input(), binding),
            "responses": self.responses(method, binding),
        });
        if !binding.body.is_empty() {
            let schema = match &*binding.body {
                "*" => self.reference(&method.input()),
                member => match method.input().get_field_by_name(member).map(|field| field.kind()) {
                    Some(Kind::Message(message)) => self.reference(&message),
                    _ => json!({}),
                },
            };
            operation["requestBody"] = json!({ "content": { "application/json": { "schema": schema } } });
        }
        operation
    }

    fn parameters(&mut self, request: &MessageDescriptor, binding: &Binding) -> Vec<Json> {
        let in_path = |name: String| {
            let member = request.get_field_by_name(&name);
            let description = match &*name {
                "parent" => "Any number of segments.".to_owned(),
                _ => member.map(|field| comment(&request.parent_file(), field.path())).unwrap_or_default(),
            };
            json!({
                "name": name, "in": "path", "required": true, "description": description,
                "schema": { "type": "string" },
            })
        };
        let mut parameters: Vec<Json> = binding.variables().into_iter().map(in_path).collect();
        if binding.body.is_empty() && binding.verb == "get" {
            for field in request.fields().filter(|field| !binding.in_path(field.name())) {
                parameters.push(json!({
                    "name": field.json_name(),
                    "in": "query",
                    "description": comment(&request.parent_file(), field.path()),
                    "schema": self.value(&field),
                }));
            }
            if READS.contains(&request.full_name()) {
                parameters.push(json!({
                    "name": "if-none-match", "in": "header",
                    "description": "Entity tags of an earlier answer: 304 while nothing has changed.",
                    "schema": { "type": "string" },
                }));
            }
            if READS_WITHOUT_WAIT.contains(&request.full_name()) {
                parameters.push(json!({
                    "name": "wait", "in": "query",
                    "description": "How long to hold the answer for a change of an unfinished operation; at most 60 s.",
                    "schema": duration(),
                }));
            }
        }
        parameters
    }

    fn responses(&mut self, method: &MethodDescriptor, binding: &Binding) -> Json {
        let content = if method.is_server_streaming() {
            json!({ "text/event-stream": { "schema": { "type": "string" } } })
        } else {
            json!({ "application/json": { "schema": self.reference(&method.output()) } })
        };
        let mut status = self.reference_by_name("google.rpc.Status");
        if method.parent_service().full_name() == "google.longrunning.Operations" {
            status = json!({
                "type": "object",
                "properties": { "error": {
                    "type": "object",
                    "properties": {
                        "code": { "type": "integer", "description": "The HTTP status." },
                        "message": { "type": "string" },
                        "status": { "type": "string", "description": "The name of the code, such as NOT_FOUND." },
                        "details": { "type": "array", "items": any() },
                    },
                } },
            });
        }
        let mut responses = json!({
            "200": { "description": "Done.", "content": content },
            "default": {
                "description": "The call was refused.",
                "content": { "application/json": { "schema": status } },
            },
        });
        if binding.verb == "get" && READS.contains(&method.input().full_name()) {
            responses["304"] = json!({ "description": "Nothing has changed." });
        }
        responses
    }

    /// All schemas that are referred to, also by one another.
    fn schemas(mut self) -> Result<Json> {
        let mut schemas = Map::new();
        while let Some(name) = self.schemas.iter().find(|name| !schemas.contains_key(*name)).cloned() {
            let schema = match self.pool.get_message_by_name(&name) {
                Some(message) => self.message(&message),
                None => enumeration(&self.pool.get_enum_by_name(&name).with_context(|| format!("{name} is gone"))?),
            };
            schemas.insert(name, schema);
        }
        Ok(schemas.into())
    }

    fn message(&mut self, message: &MessageDescriptor) -> Json {
        let mut properties = Map::new();
        for field in message.fields() {
            let mut schema = self.value(&field);
            let words = comment(&message.parent_file(), field.path());
            if !words.is_empty() {
                schema["description"] = words.into();
            }
            properties.insert(field.json_name().to_owned(), schema);
        }
        json!({
            "type": "object",
            "description": comment(&message.parent_file(), message.path()),
            "properties": properties,
        })
    }

    /// What a member holds: one, a list or a map of them.
    fn value(&mut self, field: &FieldDescriptor) -> Json {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return json!({ "type": "object" }) };
            return json!({ "type": "object", "additionalProperties": self.single(&entry.map_entry_value_field()) });
        }
        let single = self.single(field);
        if field.is_list() { json!({ "type": "array", "items": single }) } else { single }
    }

    fn single(&mut self, field: &FieldDescriptor) -> Json {
        match field.kind() {
            Kind::Double | Kind::Float => json!({ "type": "number" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::String => json!({ "type": "string" }),
            // A JSON client loses integers past 2^53.
            Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => {
                json!({ "type": "string", "format": "int64" })
            }
            Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Fixed32 | Kind::Sfixed32 => {
                json!({ "type": "integer", "format": "int32" })
            }
            Kind::Enum(descriptor) => self.reference_by_name(descriptor.full_name()),
            Kind::Message(message) => self.reference(&message),
        }
    }

    fn reference(&mut self, message: &MessageDescriptor) -> Json {
        match message.full_name() {
            "google.protobuf.Any" => any(),
            "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
            "google.protobuf.Duration" => duration(),
            "google.protobuf.Empty" => json!({ "type": "object" }),
            name => self.reference_by_name(name),
        }
    }

    fn reference_by_name(&mut self, name: &str) -> Json {
        self.schemas.insert(name.to_owned());
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }
}

fn enumeration(descriptor: &EnumDescriptor) -> Json {
    let names: Vec<_> = descriptor.values().map(|value| value.name().to_owned()).collect();
    let words = comment(&descriptor.parent_file(), descriptor.path());
    json!({ "type": "string", "description": words, "enum": names })
}

fn any() -> Json {
    json!({ "type": "object", "properties": { "@type": { "type": "string" } }, "additionalProperties": true })
}

fn duration() -> Json {
    json!({ "type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$" })
}

/// The comment before what lies at `path` in its file, as one line.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|location| location.path == path));
    let text = location.and_then(|location| location.leading_comments.as_deref()).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

const VERBS: [&str; 4] = ["get", "put", "post", "delete"];

/// Requests for one operation, whose answers have an entity tag.
const READS: [&str; 3] = [
    "operond.v1.GetOperationRequest",
    "yandex.cloud.operation.GetOperationRequest",
    "google.longrunning.GetOperationRequest",
];

/// Those whose message has no member for how long to hold the answer.
const READS_WITHOUT_WAIT: [&str; 2] =
    ["yandex.cloud.operation.GetOperationRequest", "google.longrunning.GetOperationRequest"];

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed document; that it is what the sources make is tested with the other generated files.
    fn committed() -> Json {
        serde_json::from_str(include_str!("../../crates/proto/src/gen/openapi.json")).unwrap()
    }

    fn operations(document: &Json) -> Vec<(String, Json)> {
        let paths = document["paths"].as_object().unwrap();
        let of_path = |(path, verbs): (&String, &Json)| {
            let verbs = verbs.as_object().unwrap().values().cloned();
            verbs.map(|operation| (path.clone(), operation)).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    #[test]
    fn every_reference_is_to_a_schema_that_is_there() {
        fn references(json: &Json, found: &mut Vec<String>) {
            match json {
                Json::Object(members) => {
                    found.extend(members.get("$ref").and_then(Json::as_str).map(str::to_owned));
                    members.values().for_each(|member| references(member, found));
                }
                Json::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = committed();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50, "{}", found.len());
        for reference in found {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_call_has_a_name_of_its_own_and_says_what_its_path_is_made_of() {
        let operations = operations(&committed());
        let mut names = BTreeSet::new();
        for (path, operation) in &operations {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{operation}");
            assert_ne!(operation["description"], "", "{path}");
            let said = operation["parameters"].as_array().unwrap().iter().filter(|said| said["in"] == "path");
            let said: BTreeSet<_> = said.map(|said| said["name"].as_str().unwrap()).collect();
            let variables: BTreeSet<_> = path.split('{').skip(1).map(|rest| rest.split_once('}').unwrap().0).collect();
            assert_eq!(said, variables, "{path}");
        }
        assert!(
            names.contains("operond.v1.Operations.Create")
                && names.contains("google.longrunning.Operations.WaitOperation")
        );
    }

    #[test]
    fn words_come_from_the_comments_and_shapes_from_proto3_json() {
        let document = committed();
        let operation = &document["components"]["schemas"]["operond.v1.Operation"]["properties"];
        assert_eq!(operation["createdAt"]["format"], "date-time");
        assert_eq!(operation["labels"]["additionalProperties"]["type"], "string");
        assert_eq!(operation["done"]["description"], "True once there is a final result.");
        let list = &document["paths"]["/api/v1/operations"]["get"]["parameters"];
        let names: Vec<_> = list.as_array().unwrap().iter().map(|said| said["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["filter", "pageSize", "pageToken", "orderBy"]);
    }
}
