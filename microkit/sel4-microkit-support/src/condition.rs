// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The kernel's configuration, and the conditions on it under which the interface descriptions declare a method.

use roxmltree::Node;
use serde_json::Value;

/// `gen_config.json`: option names without the prefix `CONFIG_`.
pub(crate) struct Config(serde_json::Map<String, Value>);

impl Config {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(Value::Object(options)) => Ok(Self(options)),
            Ok(_) => Err("not a JSON object".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The value of an option as text, for comparison and for messages.
    pub(crate) fn value(&self, option: &str) -> String {
        match self.0.get(option) {
            None => "undefined".into(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// Whether C code of this kernel sees the macro `CONFIG_<option>`. An option that this architecture's configuration does
    /// not know is undefined, as it is for the C preprocessor.
    fn defined(&self, option: &str) -> bool {
        !matches!(self.0.get(option), None | Some(Value::Bool(false)))
    }

    /// Whether `declared` (a `method` of the object interfaces, or a `config` group of the system calls) exists in this
    /// kernel.
    pub(crate) fn holds(&self, declared: Node) -> Result<bool, String> {
        let condition = declared.children().find(|child| child.has_tag_name("condition"));
        match condition.and_then(|condition| condition.first_element_child()) {
            None => Ok(true),
            Some(expression) => self.evaluate(expression),
        }
    }

    fn evaluate(&self, expression: Node) -> Result<bool, String> {
        let operands = || expression.children().filter(Node::is_element).map(|operand| self.evaluate(operand));
        match expression.tag_name().name() {
            "config" => {
                let variable = expression.attribute("var").ok_or("a condition's <config> has no var")?;
                Ok(self.defined(variable.strip_prefix("CONFIG_").unwrap_or(variable)))
            }
            "not" => Ok(!operands().next().ok_or("a condition's <not> is empty")??),
            "and" => operands().try_fold(true, |all, operand| Ok(all & operand?)),
            "or" => operands().try_fold(false, |any, operand| Ok(any | operand?)),
            other => Err(format!("unknown element <{other}> in a condition")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each expression is judged as the C preprocessor judges its translation to `defined(...)`.
    #[test]
    fn conditions_are_evaluated_against_the_configuration() {
        let config = Config::parse(r#"{"ON": true, "OFF": false, "TEXT": "4", "EMPTY": ""}"#).unwrap();
        for (expression, expected) in [
            ("", Ok(true)),
            ("<condition/>", Ok(true)),
            ("<condition><config var='CONFIG_ON'/></condition>", Ok(true)),
            ("<condition><config var='CONFIG_OFF'/></condition>", Ok(false)),
            ("<condition><config var='CONFIG_TEXT'/></condition>", Ok(true)),
            ("<condition><config var='CONFIG_EMPTY'/></condition>", Ok(true)),
            ("<condition><config var='CONFIG_OTHER_ARCHITECTURE'/></condition>", Ok(false)),
            ("<condition><not><config var='CONFIG_OFF'/></not></condition>", Ok(true)),
            ("<condition> <and> <config var='CONFIG_ON'/> <config var='CONFIG_OFF'/> </and> </condition>", Ok(false)),
            (
                "<condition><and><config var='CONFIG_ON'/><!-- x --><config var='CONFIG_TEXT'/></and></condition>",
                Ok(true),
            ),
            ("<condition><or><config var='CONFIG_OFF'/><config var='CONFIG_ON'/></or></condition>", Ok(true)),
            ("<condition><or><config var='CONFIG_OFF'/></or></condition>", Ok(false)),
            ("<condition><xor/></condition>", Err("unknown element <xor> in a condition".to_string())),
            ("<condition><config/></condition>", Err("a condition's <config> has no var".to_string())),
            ("<condition><not/></condition>", Err("a condition's <not> is empty".to_string())),
        ] {
            let text = format!("<method>{expression}</method>");
            let document = roxmltree::Document::parse(&text).unwrap();
            assert_eq!(config.holds(document.root_element()), expected, "{expression}");
        }
    }
}
