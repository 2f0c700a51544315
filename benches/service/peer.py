"""The peer of P3: the service's job as a FastAPI program of a page does it, with one client, nothing durable, no walls."""
import asyncio, json, os, uuid
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict

CODE = Path(os.environ["CODE_DIR"]).resolve()
RECORDS = Path(os.environ["OUTPUT_DIR"]) / "finetuning_data"
BRAIN = os.environ["MCP_SERVER_URL"].rstrip("/") + "/step"

tasks: dict[str, dict] = {}
running: set[asyncio.Task] = set()


class Posted(BaseModel):
    model_config = ConfigDict(extra="allow")
    instruction: str
    task_id: str | None = None
    max_iterations: int = 7


@asynccontextmanager
async def lifespan(app: FastAPI):
    RECORDS.mkdir(parents=True, exist_ok=True)
    # As many at a time as the service has by default.
    app.state.places = asyncio.Semaphore(256)
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=256)) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


def read_file(file_path: str, start: int = 0, end: int = 4000) -> dict:
    path = (CODE / file_path).resolve()
    if not path.is_relative_to(CODE):
        return {"status": "failure", "message": "outside"}
    return {"status": "success", "content": path.read_text(encoding="utf-8")[start:end]}


async def run(task_id: str, posted: dict) -> None:
    task = tasks[task_id]
    async with app.state.places:
        task["status"] = "running"
        payload = {"event": "start", "task": posted}
        with (RECORDS / f"{task_id}.jsonl").open("a", encoding="utf-8") as record:
            for iteration in range(1, task["max_iterations"] + 1):
                answer = await app.state.client.post(BRAIN, json={"task_id": task_id, "payload": payload})
                reply = answer.raise_for_status().json()
                line = {"iteration": iteration, "agent_input": payload, "mcp_reply": reply}
                record.write(json.dumps(line, ensure_ascii=False) + "\n")
                record.flush()
                task["iteration"] = iteration
                if reply["event"] == "finish":
                    task.update(status="succeeded", summary=reply.get("summary"))
                    return
                result = read_file(**reply["arguments"])
                payload = {"event": "tool_result", "name": reply["name"], "arguments": reply["arguments"], "result": result}
        task["status"] = "failed"


@app.post("/tasks", status_code=202)
async def submit(posted: Posted) -> dict:
    task_id = posted.task_id or str(uuid.uuid4())
    tasks[task_id] = {"task_id": task_id, "status": "queued", "iteration": 0, "max_iterations": posted.max_iterations}
    job = asyncio.create_task(run(task_id, posted.model_dump(exclude_none=True)))
    running.add(job)
    job.add_done_callback(running.discard)
    return tasks[task_id]


@app.get("/tasks/{task_id}")
async def status(task_id: str) -> dict:
    if task_id not in tasks:
        raise HTTPException(404)
    return tasks[task_id]


@app.get("/unfinished")
async def unfinished() -> int:
    return len(running)
