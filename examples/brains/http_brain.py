"""A brain for codex-agent: strips trailing white space from the file that the task names."""
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def decide(payload):
    result = payload.get("result", {})
    if payload["event"] == "start":
        return {"event": "tool_call", "name": "read_file", "arguments": {"file_path": payload["task"].get("file", "")}}
    if payload.get("name") == "read_file" and result["status"] == "success":
        tidy = "".join(line.rstrip() + "\n" for line in result["content"].splitlines())
        edit = {"file_path": payload["arguments"]["file_path"], "new_content": tidy, "expected_sha256": result["sha256"]}
        return {"event": "tool_call", "name": "edit_file", "arguments": edit}
    return {"event": "finish", "summary": result.get("message", "stopped")}

class Brain(BaseHTTPRequestHandler):
    def do_POST(self):
        step = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = json.dumps(decide(step["payload"])).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(reply)

server = ThreadingHTTPServer(("127.0.0.1", int((sys.argv + [8000])[1])), Brain)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
