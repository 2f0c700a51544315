"""The same brain over WebSocket: one connection carries the steps of all tasks of a worker."""
import json, sys
from websockets.sync.server import serve

def decide(payload):
    result = payload.get("result", {})
    if payload["event"] == "start":
        return {"event": "tool_call", "name": "read_file", "arguments": {"file_path": payload["task"].get("file", "")}}
    if payload.get("name") == "read_file" and result["status"] == "success":
        tidy = "".join(line.rstrip() + "\n" for line in result["content"].splitlines())
        edit = {"file_path": payload["arguments"]["file_path"], "new_content": tidy, "expected_sha256": result["sha256"]}
        return {"event": "tool_call", "name": "edit_file", "arguments": edit}
    return {"event": "finish", "summary": result.get("message", "stopped")}

def answer(worker):
    for step in map(json.loads, worker):
        try:
            said = {"reply": decide(step["payload"])}
        except Exception as error:
            said = {"error": {"status": 422, "message": repr(error)}}
        worker.send(json.dumps({"task_id": step["task_id"], "iteration": step["iteration"], **said}))

with serve(answer, "127.0.0.1", int((sys.argv + [8000])[1]), max_size=None) as server:
    print(f"ws://127.0.0.1:{server.socket.getsockname()[1]}", flush=True)
    server.serve_forever()
