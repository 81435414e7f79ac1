//! `docs/api.md` is rendered from the comments of the protos. This test fails if the page is out of
//! date.
//!
//! `UPDATE_DOCS=1 cargo test --test it api_page` writes it.

use std::{collections::HashMap, env, fmt::Write as _, fs};

use gotoassist_grpc::proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use crate::kit::project::root;

const PACKAGE: &str = "gotoassist.remotesupport.v1";

const HEAD: &str = "\
# API

<!-- Rendered from proto/ by `UPDATE_DOCS=1 cargo test --test it api_page`. Do not edit it here. -->

Every service, message and enum of the package `gotoassist.remotesupport.v1`, from the
[`.proto` files](../proto/gotoassist/remotesupport/v1). gRPC's reflection shows the same.
";

#[test]
fn the_api_page_is_what_the_protos_say() {
    let page = Page::render(&FileDescriptorSet::decode(DESCRIPTORS).unwrap());
    let path = root().join("docs/api.md");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let present = fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(present.lines()).find(|(new, old)| new != old);
    assert!(
        page == present,
        "docs/api.md is stale; UPDATE_DOCS=1 cargo test --test it api_page writes it. \
         The first line that differs: {differs:?}"
    );
}

/// The parts of the page. Each kind of declaration has a part, for all files.
#[derive(Default)]
struct Page {
    services: String,
    messages: String,
    enums: String,
}

impl Page {
    fn render(set: &FileDescriptorSet) -> String {
        let mut page = Self::default();
        for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
            page.add(file);
        }
        let Self { services, messages, enums } = page;
        format!("{HEAD}{services}\n## Messages\n{messages}\n## Enums\n{enums}")
    }

    fn add(&mut self, file: &FileDescriptorProto) {
        let comments = Comments::of(file);
        for (index, service) in (0..).zip(&file.service) {
            self.add_service(service, &comments.at(&[6, index]));
        }
        for (index, message) in (0..).zip(&file.message_type) {
            self.add_message(message, message.name(), &comments.at(&[4, index]));
        }
        for (index, each) in (0..).zip(&file.enum_type) {
            self.add_enum(each, each.name(), &comments.at(&[5, index]));
        }
    }

    fn add_service(&mut self, service: &ServiceDescriptorProto, comments: &Comments) {
        let page = &mut self.services;
        write!(page, "\n## {}\n\n{}", service.name(), comments.text()).unwrap();
        for (index, method) in (0..).zip(&service.method) {
            let stream = |is_stream| if is_stream { "stream of " } else { "" };
            write!(
                page,
                "\n### {}\n\nTakes {}{}, returns {}{}.\n\n{}",
                method.name(),
                stream(method.client_streaming()),
                type_name(method.input_type()),
                stream(method.server_streaming()),
                type_name(method.output_type()),
                comments.at(&[2, index]).text(),
            )
            .unwrap();
        }
    }

    fn add_message(&mut self, message: &DescriptorProto, name: &str, comments: &Comments) {
        let page = &mut self.messages;
        write!(page, "\n### {name}\n\n{}", comments.text()).unwrap();
        if !message.field.is_empty() {
            page.push_str("\n| field | type | |\n|---|---|---|\n");
        }
        for (index, field) in (0..).zip(&message.field) {
            let comment = comments.at(&[2, index]).cell();
            writeln!(page, "| `{}` | {} | {comment} |", field.name(), field_type(field)).unwrap();
        }
        for (index, nested) in (0..).zip(&message.nested_type) {
            let name = format!("{name}.{}", nested.name());
            self.add_message(nested, &name, &comments.at(&[3, index]));
        }
        for (index, each) in (0..).zip(&message.enum_type) {
            let name = format!("{name}.{}", each.name());
            self.add_enum(each, &name, &comments.at(&[4, index]));
        }
    }

    fn add_enum(&mut self, each: &EnumDescriptorProto, name: &str, comments: &Comments) {
        let page = &mut self.enums;
        let text = comments.text();
        write!(page, "\n### {name}\n\n{text}\n| value | number | |\n|---|---|---|\n").unwrap();
        for (index, value) in (0..).zip(&each.value) {
            let comment = comments.at(&[2, index]).cell();
            writeln!(page, "| `{}` | {} | {comment} |", value.name(), value.number()).unwrap();
        }
    }
}

/// The comments of one file, from the position of one declaration.
struct Comments<'a> {
    /// Comments by path. A path is a list of field numbers from the file's descriptor to a
    /// declaration.
    all: HashMap<&'a [i32], &'a str>,
    path: Vec<i32>,
}

impl<'a> Comments<'a> {
    fn of(file: &'a FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let all =
            locations.map(|location| (&*location.path, location.leading_comments())).collect();
        Self { all, path: Vec::new() }
    }

    fn at(&self, path: &[i32]) -> Self {
        Self { all: self.all.clone(), path: [&self.path, path].concat() }
    }

    fn lines(&self) -> impl Iterator<Item = &'a str> {
        let comment = self.all.get(&*self.path).copied().unwrap_or_default();
        assert!(!comment.is_empty(), "a declaration without a comment: {:?}", self.path);
        comment.lines().map(|line| line.strip_prefix(' ').unwrap_or(line))
    }

    /// The comment as Markdown. Indented lines are a table, and keep their form.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut is_table = false;
        let mut lines = self.lines().peekable();
        while let Some(line) = lines.next() {
            if line.starts_with("  ") && !is_table {
                text.push_str("```text\n");
                is_table = true;
            }
            writeln!(text, "{}", if is_table { line.get(2..).unwrap_or("") } else { line })
                .unwrap();
            if is_table && lines.peek().is_none_or(|next| !next.starts_with("  ")) {
                text.push_str("```\n");
                is_table = false;
            }
        }
        text
    }

    /// In one line, for a cell of a table.
    fn cell(&self) -> String {
        self.lines().collect::<Vec<_>>().join(" ").replace('|', "\\|")
    }
}

fn field_type(field: &FieldDescriptorProto) -> String {
    let name = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => type_name(field.type_name()),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    let label = match field.label() {
        Label::Repeated => "repeated ",
        Label::Optional | Label::Required if field.proto3_optional() => "optional ",
        Label::Optional | Label::Required => "",
    };
    format!("{label}{name}")
}

/// A link to the heading of a type in this package, or the full name of another type.
fn type_name(name: &str) -> String {
    let name = name.trim_start_matches('.');
    match name.strip_prefix(PACKAGE) {
        Some(own) => {
            let own = own.trim_start_matches('.');
            format!("[{own}](#{})", own.replace('.', "").to_lowercase())
        }
        None => format!("`{name}`"),
    }
}
