//! The code and the descriptor in `src/brain/proto/` are those of its `brain.proto`.
//!
//! After a change of the proto file: `UPDATE=1 cargo test --test proto`.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]

use std::path::Path;

use codex_agent::brain::proto::DESCRIPTOR;
use prost::Message;
use tonic_prost_build::FileDescriptorSet;

/// Below the directory of the package.
const DIRECTORY: &str = "src/brain/proto";
const PROTO: &str = "codexagent/v1/brain.proto";

/// What the house wants a file to open with.
const FIRST_LINE: &str =
    "//! Messages, client and server of `codexagent/v1/brain.proto`: generated, see `tests/proto.rs`.\n";

#[test]
fn the_committed_code_and_descriptor_are_those_of_the_proto_file() {
    let mut compiler = protox::Compiler::new([DIRECTORY]).unwrap();
    compiler.include_source_info(true).open_file(PROTO).unwrap();
    let code = [FIRST_LINE, &code(compiler.file_descriptor_set())].concat();
    // Reflection has no use for comments and places.
    let mut compiler = protox::Compiler::new([DIRECTORY]).unwrap();
    compiler.include_source_info(false).open_file(PROTO).unwrap();
    let descriptor = compiler.encode_file_descriptor_set();

    for (name, own) in [("v1.rs", code.as_bytes()), ("descriptor.bin", &descriptor)] {
        let path = Path::new(DIRECTORY).join(name);
        if update() {
            std::fs::write(&path, own).unwrap();
        }
        let committed = std::fs::read(&path).unwrap();
        assert!(committed == own, "{} is out of date: UPDATE=1 cargo test --test proto", path.display());
    }
}

#[test]
fn the_descriptor_names_the_service_and_its_one_method() {
    let set = FileDescriptorSet::decode(DESCRIPTOR).unwrap();
    let [file] = &set.file[..] else { panic!("{set:?}") };
    assert_eq!((file.name(), file.package()), (PROTO, "codexagent.v1"));
    let methods: Vec<_> = file.service.iter().flat_map(|service| &service.method).collect();
    let [step] = methods[..] else { panic!("{methods:?}") };
    let types = (step.name(), step.input_type(), step.output_type());
    assert_eq!(types, ("Step", ".codexagent.v1.StepRequest", ".codexagent.v1.StepReply"));
    assert!(!step.client_streaming() && !step.server_streaming());
}

/// Client and server; connections are made elsewhere.
fn code(set: FileDescriptorSet) -> String {
    let out = tempfile::tempdir().unwrap();
    let builder = tonic_prost_build::configure().build_transport(false).emit_rerun_if_changed(false);
    builder.out_dir(out.path()).compile_fds(set).unwrap();
    std::fs::read_to_string(out.path().join("codexagent.v1.rs")).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the word of whoever runs the test")]
fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}
