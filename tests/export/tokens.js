// Counts the tokens of an export with another implementation of o200k_base, and compares with what the manifest says.
//
//     NODE_PATH=…/node_modules node tests/export/tokens.js DIR
//
// What is counted of a chat or a preference: each message's content, each call's name and arguments, and the tools, each text for itself;
// of any other row the line as it stands. Nothing is counted of what a template would put around them.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const { countTokens } = require("gpt-tokenizer/encoding/o200k_base");

// Nothing is special in what people and tools write.
const ORDINARY = { allowedSpecial: new Set(), disallowedSpecial: new Set() };
const count = (text) => countTokens(text, ORDINARY);

// Where the JSON value that begins at `from` ends.
function end(text, from) {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const letter = text[at];
    if (letter === '"') {
      while (text[++at] !== '"') if (text[at] === "\\") at++;
    } else if (letter === "{" || letter === "[") depth++;
    else if (letter === "}" || letter === "]") depth--;
    else if (letter === "," && depth === 0) return at;
    if (depth < 0) return at;
    if (depth === 0 && (letter === "}" || letter === "]" || letter === '"')) return at + 1;
  }
  return text.length;
}

// The members of an object, and the elements of an array, as the text that stands there: to read a number and write it again could change
// it.
function parts(text) {
  const isObject = text[0] === "{";
  const found = isObject ? {} : [];
  let at = 1;
  while (at < text.length - 1) {
    let name;
    if (isObject) {
      const after = end(text, at);
      name = JSON.parse(text.slice(at, after));
      at = after + 1;
    }
    const after = end(text, at);
    if (isObject) found[name] = text.slice(at, after);
    else found.push(text.slice(at, after));
    at = after + 1;
  }
  return found;
}

function ofCall(text) {
  const { name, arguments: given } = parts(parts(text).function);
  return count(JSON.parse(name)) + count(given[0] === '"' ? JSON.parse(given) : given);
}

function ofMessage(text) {
  const message = parts(text);
  const content = message.content ? JSON.parse(message.content) : "";
  const calls = message.tool_calls ? parts(message.tool_calls) : [];
  return calls.reduce((sum, call) => sum + ofCall(call), content ? count(content) : 0);
}

function ofRow(text) {
  const row = parts(text);
  const { messages, tools } = row.input ? parts(row.input) : row;
  if (!tools) return count(text);
  const lists = [messages ?? row.prompt];
  if (!row.messages) lists.push(row.chosen ?? row.preferred_output, row.rejected ?? row.non_preferred_output);
  return lists.flatMap(parts).reduce((sum, message) => sum + ofMessage(message), count(tools));
}

const rows = (shard) => fs.readFileSync(shard, "utf8").split("\n").filter(Boolean);
const directory = process.argv[2];
const read = (name) => fs.readFileSync(path.join(directory, name), "utf8");
const manifest = JSON.parse(read("manifest.json"));
const counted = { rows: 0, tokens: 0 };
for (const [split, { rows: count, tokens }] of Object.entries(manifest.splits)) {
  const shards = fs.readdirSync(path.join(directory, "data")).filter((shard) => shard.startsWith(split));
  const here = shards.sort().flatMap((shard) => rows(path.join(directory, "data", shard))).map(ofRow);
  const sum = here.reduce((one, other) => one + other, 0);
  assert.deepEqual([here.length, sum], [count, tokens], `rows and tokens for ${split}, and what the manifest says`);
  counted.rows += here.length;
  counted.tokens += sum;
}
assert.deepEqual([manifest.rows, manifest.tokens.total], [counted.rows, counted.tokens], "the manifest's sums");
const index = read("index.jsonl").split("\n").filter(Boolean).map((line) => JSON.parse(line).tokens);
assert.equal(index.reduce((one, other) => one + other, 0), counted.tokens, "the index's sum");
console.log(JSON.stringify({ ...counted, splits: Object.keys(manifest.splits).length }));
