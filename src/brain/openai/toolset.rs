//! The tools as a model's server wants them described.
//!
//! `strict` holds a model to the schema while it writes. It wants every property required, so an optional one may be null
//! instead, and is taken out of what the model wrote; and it knows few keywords.

use serde_json::value::RawValue;

use crate::brain::fields::{Fields, list, object, quoted, string};
use crate::domain::Json;

/// Keywords that `strict` does not know, above all for fine-tuned models. What they say is checked by the tools.
const NOT_STRICT: &[&str] = &[
    "default",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "multipleOf",
    "pattern",
    "uniqueItems",
];

/// The longest name that servers take.
const LONGEST_NAME: usize = 64;

/// The tools, described both ways.
pub(super) struct Toolset {
    tools: Vec<Tool>,
    strict: Json,
    plain: Json,
}

struct Tool {
    name: String,
    optional: Vec<String>,
    /// The arguments that are no text: their schemas name other types only.
    not_text: Vec<String>,
}

impl Toolset {
    /// From `[{"name", "description", "parameters"}, …]`, the parameters as a JSON Schema.
    pub(super) fn new(schemas: &Json) -> Self {
        let (mut tools, mut strict_forms, mut plain_forms) = (Vec::new(), Vec::new(), Vec::new());
        for described in list(schemas.as_str()).unwrap_or_default() {
            let fields = Fields::of(described).unwrap_or_default();
            let parameters = fields.get("parameters").unwrap_or("{}");
            let name = fields.string("name").unwrap_or_default();
            let words = [("name", fields.get("name")), ("description", fields.get("description"))];
            let words: Vec<_> = words.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            let function = |more: &[(&'static str, &str)]| {
                let function = object(words.iter().copied().chain(more.iter().copied()));
                object([("type", "\"function\""), ("function", &function)])
            };
            plain_forms.push(function(&[("parameters", parameters)]));
            strict_forms.push(function(&[("strict", "true"), ("parameters", &strict(parameters))]));
            tools.push(Tool { name, optional: optional(parameters), not_text: not_text(parameters) });
        }
        let array =
            |forms: Vec<String>| Json::reread(&format!("[{}]", forms.join(","))).unwrap_or_else(|_| schemas.clone());
        Self { tools, strict: array(strict_forms), plain: array(plain_forms) }
    }

    /// For the field `tools` of a request.
    pub(super) fn described(&self, strict: bool) -> &Json {
        if strict { &self.strict } else { &self.plain }
    }

    /// Their names, for a sentence.
    pub(super) fn names(&self) -> String {
        self.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The arguments of `name` that may be left out.
    pub(super) fn optional(&self, name: &str) -> &[String] {
        self.tools.iter().find(|tool| tool.name == name).map_or(&[], |tool| &tool.optional)
    }

    /// The arguments of `name`, all given as text, with those that are no text read as JSON. What cannot be read stays:
    /// the tool says what is wrong with it.
    pub(super) fn typed(&self, name: &str, arguments: &Json) -> Json {
        let not_text = self.tools.iter().find(|tool| tool.name == name).map_or(&[][..], |tool| &tool.not_text);
        let value = |(name, raw): &(String, &RawValue)| {
            let text = string(raw.get()).filter(|_| not_text.contains(name))?;
            // Some templates have Python's True, False and None.
            let plain = match text.trim() {
                "True" => "true",
                "False" => "false",
                "None" => "null",
                other => other,
            };
            Json::parse(plain).ok()
        };
        let fields = Fields::of(arguments.as_str()).unwrap_or_default();
        let values =
            fields.0.iter().map(|member| value(member).map_or(member.1.get().to_owned(), |json| json.to_string()));
        let values: Vec<String> = values.collect();
        let members = fields.0.iter().zip(&values).map(|((name, _), value)| (name.as_str(), value.as_str()));
        Json::parse(&object(members)).unwrap_or_else(|_| arguments.clone())
    }

    /// The tool that a model means: some put `functions.` before the name, or let their own marks follow. An unknown
    /// name becomes one that servers take back in the next request.
    pub(super) fn meant(&self, name: &str) -> String {
        let is_known = |name: &str| self.tools.iter().any(|tool| tool.name == name);
        let bare = name.split("<|").next().unwrap_or_default().trim();
        let bare = bare.strip_prefix("functions.").unwrap_or(bare);
        if is_known(bare) {
            return bare.to_owned();
        }
        let legal = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
        let name: String = name.trim().chars().take(LONGEST_NAME).map(legal).collect();
        if name.is_empty() { "unnamed".to_owned() } else { name }
    }
}

/// The names of an object schema's properties, and of those that are required.
fn properties(schema: &Fields<'_>) -> (Vec<String>, Vec<String>) {
    let names = schema.object("properties").unwrap_or_default().0.into_iter().map(|(name, _)| name).collect();
    (names, schema.list("required").into_iter().filter_map(string).collect())
}

fn optional(schema: &str) -> Vec<String> {
    let (mut names, required) = properties(&Fields::of(schema).unwrap_or_default());
    names.retain(|name| !required.contains(name));
    names
}

fn not_text(schema: &str) -> Vec<String> {
    let fields = Fields::of(schema).unwrap_or_default();
    let properties = fields.object("properties").unwrap_or_default();
    let is_text = |raw: &str| {
        let types = types(&Fields::of(raw).unwrap_or_default());
        types.is_empty() || types.contains(&"\"string\"")
    };
    properties.0.into_iter().filter(|(_, raw)| !is_text(raw.get())).map(|(name, _)| name).collect()
}

/// The types that a schema names, as JSON texts.
fn types<'a>(schema: &Fields<'a>) -> Vec<&'a str> {
    match schema.get("type") {
        Some(one) if one.starts_with('"') => vec![one],
        Some(several) => list(several).unwrap_or_default(),
        None => Vec::new(),
    }
}

/// The schema as `strict` wants it.
fn strict(schema: &str) -> String {
    let Some(fields) = Fields::of(schema) else { return schema.to_owned() };
    let (names, required) = properties(&fields);
    let mut members: Vec<(&str, String)> = Vec::new();
    for (key, raw) in &fields.0 {
        let value = match key.as_str() {
            "required" | "additionalProperties" => continue,
            "properties" => {
                let properties = Fields::of(raw.get()).unwrap_or_default();
                let changed: Vec<(&String, String)> = properties
                    .0
                    .iter()
                    .map(|(name, raw)| {
                        let inner = strict(raw.get());
                        (name, if required.contains(name) { inner } else { nullable(&inner) })
                    })
                    .collect();
                object(changed.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            }
            "items" => strict(raw.get()),
            keyword if NOT_STRICT.contains(&keyword) => continue,
            _ => raw.get().to_owned(),
        };
        members.push((key, value));
    }
    if fields.get("properties").is_some() {
        let all: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        members.push(("required", format!("[{}]", all.join(","))));
        members.push(("additionalProperties", "false".to_owned()));
    }
    object(members.iter().map(|(key, value)| (*key, value.as_str())))
}

/// The schema, or null.
fn nullable(schema: &str) -> String {
    let fields = Fields::of(schema).unwrap_or_default();
    let types = types(&fields);
    if types.is_empty() {
        return format!("{{\"anyOf\":[{schema},{{\"type\":\"null\"}}]}}");
    }
    if types.contains(&"\"null\"") {
        return schema.to_owned();
    }
    let types = format!("[{},\"null\"]", types.join(","));
    object(fields.0.iter().map(|(key, raw)| (key.as_str(), if key == "type" { &types } else { raw.get() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolset() -> Toolset {
        Toolset::new(
            &Json::parse(
                r#"[{"name":"t","description":"d","parameters":{"type":"object","required":["b"],"properties":{
                    "b":{"type":"string","minLength":1},"a":{"type":["integer","null"],"format":"int64","minimum":-1},
                    "c":{"type":"array","items":{"type":"integer","minimum":0},"minItems":2},"d":{"oneOf":[{"type":"string"}]}
                },"additionalProperties":true}}]"#,
            )
            .unwrap(),
        )
    }

    #[test]
    fn a_strict_schema_requires_everything_and_lets_the_optional_be_null() {
        assert_eq!(
            toolset().described(true).as_str(),
            r#"[{"type":"function","function":{"name":"t","description":"d","strict":true,"parameters":{"type":"object","properties":{"b":{"type":"string"},"a":{"type":["integer","null"]},"c":{"type":["array","null"],"items":{"type":"integer"}},"d":{"anyOf":[{"oneOf":[{"type":"string"}]},{"type":"null"}]}},"required":["b","a","c","d"],"additionalProperties":false}}}]"#
        );
        let plain = toolset().described(false).to_string();
        assert!(!plain.contains("strict") && plain.contains("\"minLength\":1"), "{plain}");
        assert_eq!(toolset().optional("t"), ["a", "c", "d"]);
        assert!(toolset().optional("x").is_empty());
    }

    #[test]
    fn text_is_read_as_json_only_where_the_schema_has_no_text() {
        let typed = |text| toolset().typed("t", &Json::parse(text).unwrap()).to_string();
        assert_eq!(typed(r#"{"b":"7","a":"7","c":" [1,2]\n","d":"7"}"#), r#"{"b":"7","a":7,"c":[1,2],"d":"7"}"#);
        assert_eq!(typed(r#"{"a":"None","c":"one, two","x":"1"}"#), r#"{"a":null,"c":"one, two","x":"1"}"#);
        assert_eq!(toolset().typed("x", &Json::parse(r#"{"a":"7"}"#).unwrap()).as_str(), r#"{"a":"7"}"#);
    }

    #[test]
    fn a_name_is_what_the_model_meant() {
        for (said, meant) in [
            ("t", "t"),
            ("functions.t", "t"),
            ("t<|channel|>commentary", "t"),
            ("rm -rf /", "rm_-rf__"),
            ("", "unnamed"),
        ] {
            assert_eq!(toolset().meant(said), meant);
        }
    }
}
