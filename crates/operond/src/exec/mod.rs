//! `operond worker exec`: makes any program a worker. (Being written; the entry point is `exec::run`.)
