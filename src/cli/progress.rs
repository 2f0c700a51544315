//! One line for people per iteration.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::one_line;

/// What a line of the record says, in short; `None` for what is no line of a record.
pub(super) fn describe(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        iteration: u32,
        agent_input: Value,
        mcp_reply: Value,
        step_ms: u64,
        tool_ms: Option<u64>,
    }
    let line: Line = serde_json::from_str(line).ok()?;
    let (came, wants) = (came(&line.agent_input, line.tool_ms), wants(&line.mcp_reply));
    let (came, wants) = (one_line(&came), one_line(&wants));
    Some(format!("{:>3}  {came}\n     → {wants}  ({} ms)", line.iteration, line.step_ms))
}

/// What the brain was told.
fn came(input: &Value, tool_ms: Option<u64>) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    match input["event"].as_str() {
        Some("start") => format!("start: {}", short(&text(&input["task"]["instruction"]))),
        Some("agent_abort") => format!("agent_abort: {}", text(&input["reason"])),
        _ => {
            let result = &input["result"];
            let code = result["returncode"].as_i64().map_or_else(String::new, |code| format!(", return code {code}"));
            let said = result["message"].as_str().or(result["stdout"].as_str()).unwrap_or_default();
            let last = said.trim_end().lines().last().map_or_else(String::new, |last| format!(": {}", short(last)));
            let took = tool_ms.map_or_else(String::new, |ms| format!(" ({ms} ms)"));
            format!("{} {}{code}{last}{took}", text(&input["name"]), text(&result["status"]))
        }
    }
}

/// What the brain wants.
fn wants(reply: &Value) -> String {
    match reply["event"].as_str() {
        Some("tool_call") => {
            let arguments = &reply["arguments"];
            let object = arguments["command"].as_str().or(arguments["file_path"].as_str()).unwrap_or_default();
            format!("{} {}", reply["name"].as_str().unwrap_or("?"), short(object))
        }
        Some("finish") => format!("finish: {}", short(reply["summary"].as_str().unwrap_or_default())),
        Some(other) => other.to_owned(),
        None => "no reply".to_owned(),
    }
}

fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(90).collect();
    if cut.len() < text.trim_end().len() { format!("{cut}…") } else { cut }
}
