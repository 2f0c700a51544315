"""The same brain over gRPC."""
import grpc, json, sys
from concurrent.futures import ThreadPoolExecutor
messages, services = grpc.protos_and_services("codexagent/v1/brain.proto")  # found by PYTHONPATH=src/brain/proto

def decide(payload):
    result = payload.get("result", {})
    if payload["event"] == "start":
        return {"event": "tool_call", "name": "read_file", "arguments": {"file_path": payload["task"].get("file", "")}}
    if payload.get("name") == "read_file" and result["status"] == "success":
        tidy = "".join(line.rstrip() + "\n" for line in result["content"].splitlines())
        edit = {"file_path": payload["arguments"]["file_path"], "new_content": tidy, "expected_sha256": result["sha256"]}
        return {"event": "tool_call", "name": "edit_file", "arguments": edit}
    return {"event": "finish", "summary": result.get("message", "stopped")}

class Brain(services.BrainServicer):
    def Step(self, request, context):
        return messages.StepReply(reply=json.dumps(decide(json.loads(request.payload))))

server = grpc.server(ThreadPoolExecutor(64), options=[("grpc.max_receive_message_length", -1)])
services.add_BrainServicer_to_server(Brain(), server)
port = server.add_insecure_port("127.0.0.1:" + (sys.argv + ["8000"])[1])
server.start()
print(f"grpc://127.0.0.1:{port}", flush=True)
server.wait_for_termination()
