"""What every port answers beside what its own paths do, as documented in OpenAPI: its state, and what is wrong."""

from __future__ import annotations

from pydantic import Field

from rest_shim.reply.replies import JsonReply


class HealthGpu(JsonReply):
    """A GPU, as it was a moment ago."""

    device: str = Field(description="As the server calls it.", examples=["cuda:0"])
    name: str = Field(description="Its kind.", examples=["NVIDIA H100 80GB HBM3"])
    uuid: str = Field(
        description="What no other GPU is called, as nvidia-smi shows it behind a prefix.",
        examples=["5f1e8a0c-9d3b-4c57-8a11-2b7c0e6d4f90"],
    )
    memory_bytes: int = Field(description="Its memory.", examples=[85520809984])
    free_bytes: int = Field(description="What no process holds of that.", examples=[61203283968])
    utilization_percent: int | None = Field(
        description="How much of the last second it computed; null where its driver does not tell.",
        examples=[87],
    )


class Health(JsonReply):
    """The state of the server, as far as it concerns this port."""

    status: str = Field(description="healthy, or unhealthy where no worker lives.", examples=["healthy"])
    device: str | None = Field(description="Device of the first live worker.", examples=["cuda:0"])
    worker_id: int | None = Field(description="Number of that worker.", examples=[0])
    gpu_id: int | None = Field(description="Number of its GPU; null on a CPU.", examples=[0])
    gpu_count: int = Field(description="GPUs that workers use which are up.", examples=[4])
    models_loaded: list[str] = Field(description="Models of this port's family that are in memory.")
    total_model_instances: int = Field(
        description="The same, each counted once for each worker that holds it."
    )
    request_counter: int = Field(
        description="Requests that this process has taken on this port, health aside."
    )
    problems: list[str] = Field(
        default=[], description="Models that should be in memory and cannot be loaded, and why."
    )
    gpus: list[HealthGpu] = Field(default=[], description="The GPUs of the live workers, each once.")


class Ready(JsonReply):
    """The port should get requests."""

    status: str = Field(description="ready", examples=["ready"])


class Problem(JsonReply):
    """Why there is no answer."""

    detail: str = Field(description="What is wrong, and what would mend it.")


class FieldProblem(JsonReply):
    """One bad field."""

    loc: list[str | int] = Field(description="Where it is.", examples=[["body", "image"]])
    msg: str = Field(description="What is wrong with it.")
    type: str = Field(description="Kind of mistake.")


class FieldProblems(JsonReply):
    """What is wrong with which field."""

    detail: list[FieldProblem] = Field(description="The bad fields.")
