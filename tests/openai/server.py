"""A stand-in for an OpenAI-compatible server: it says what a test wrote down, and checks whatever it is asked.

    python3 server.py SCRIPT.json LOG.jsonl

SCRIPT is {"answers": [...], "critic": [...], "refuse": {...}}: the answers of the main model and of the critique model in their
order, each {"status", "headers", "body"}. An answer may have "raw" (text) in place of "body". `refuse` makes it an odd server:

    "words":   {"strict": "unknown field strict"}   400 with this message where the word stands in a request
    "status":  {"strict": 422}                      another status for such a word
    "context": 20000                                400 (context_length_exceeded) where a request is longer, in bytes
    "lists":   true                                 400 where a content is not a string

Each request goes to LOG, one JSON object a line, with "faults": what is wrong with it by the types of the `openai` package, and
by the rule that every tool message answers a call just made and no call stays unanswered.
"""
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

PARAMETERS = TypeAdapter(with_config(ConfigDict(extra="forbid"))(CompletionCreateParamsNonStreaming))


def not_lists(value):
    """The types speak of iterables, which pydantic only looks at when they are gone through."""
    if isinstance(value, dict):
        return {key: not_lists(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [not_lists(one) for one in value]
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    return [not_lists(one) for one in value]


def faults(request):
    found = []
    try:
        not_lists(PARAMETERS.validate_python(request))
    except ValidationError as error:
        found += [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    waiting = []
    for message in request["messages"]:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in waiting:
                found.append(f"a tool message answers no call just made: {message}")
            else:
                waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            found.append(f"not answered: {waiting}")
        waiting = [call["id"] for call in message.get("tool_calls", [])]
        for call in message.get("tool_calls", []):
            if not isinstance(json.loads(call["function"]["arguments"]), dict):
                found.append(f"arguments that are no object: {call}")
    if waiting:
        found.append(f"not answered: {waiting}")
    for tool in request.get("tools", []):
        found += strict_faults(tool["function"])
    return found


def strict_faults(function):
    schema = function["parameters"]
    if not function.get("strict"):
        return []
    found = []
    if schema.get("additionalProperties") is not False:
        found.append(f"{function['name']}: strict wants additionalProperties to be false")
    if sorted(schema.get("required", [])) != sorted(schema["properties"]):
        found.append(f"{function['name']}: strict wants every property required")
    return found


def odd(refuse, text, request):
    for word, message in refuse.get("words", {}).items():
        if f'"{word}"' in text:
            return refuse.get("status", {}).get(word, 400), {"message": message}
    if len(text) > refuse.get("context", len(text)):
        return 400, {"message": "too much", "code": "context_length_exceeded"}
    if refuse.get("lists") and not all(isinstance(message["content"], str) for message in request["messages"]):
        return 400, {"message": "content must be a string"}
    return None


class Listener(ThreadingHTTPServer):
    # As many as a test sends at once.
    request_queue_size = 256


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script = json.load(open(sys.argv[1], encoding="utf-8"))
    log = open(sys.argv[2], "a", buffering=1, encoding="utf-8")

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        request = json.loads(text)
        refused = odd(self.script.get("refuse", {}), text, request)
        entry = {"path": self.path, "authorization": self.headers["authorization"], "request": request}
        if refused:
            answer = {"status": refused[0], "body": {"error": refused[1]}}
        else:
            answers = self.script["answers" if "tools" in request else "critic"]
            answer = answers.pop(0) if answers else {"status": 404, "body": {"error": {"message": "no answer is left"}}}
        self.log.write(json.dumps(entry | {"faults": faults(request), "refused": bool(refused)}) + "\n")
        if answer.get("silent"):
            # Until the one who asked has gone.
            self.rfile.read()
            return
        body = answer.get("raw", json.dumps(answer.get("body"))).encode()
        self.send_response(answer.get("status", 200))
        for name, value in answer.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = Listener(("127.0.0.1", 0), Server)
print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
server.serve_forever()
