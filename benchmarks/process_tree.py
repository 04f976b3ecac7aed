"""CPU time and memory of a process and all its descendants, by looking again and again."""

from __future__ import annotations

import threading
import time

SAMPLE_S = 0.1


class TreeSampler(threading.Thread):
    """Samples a process and its descendants until told to stop; keeps (seconds, total CPU s, MiB)."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, float, float]] = [(time.monotonic(), 0.0, 0.0)]
        self._pid = pid
        self._stopped = threading.Event()
        self._cpu: dict[tuple[int, float], float] = {}

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            self.sample()

    def sample(self) -> None:
        import psutil

        try:
            root = psutil.Process(self._pid)
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        resident = 0
        for process in family:
            try:
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info()
                    self._cpu[process.pid, process.create_time()] = times.user + times.system
                    resident += memory.rss
            except psutil.NoSuchProcess:
                continue
        self.samples.append((time.monotonic(), sum(self._cpu.values()), resident / 2**20))

    def stop(self) -> None:
        """End the sampling and whatever is left of the tree, which would slow the next run down."""
        import psutil

        self._stopped.set()
        self.join()
        for pid, started in self._cpu:
            try:
                process = psutil.Process(pid)
                if process.create_time() == started:
                    process.kill()
            except psutil.NoSuchProcess:
                continue

    def cpu_at(self, moment: float) -> float:
        """CPU seconds of the tree up to `moment`, interpolated between the samples around it."""
        before, after = self.samples[0], self.samples[-1]
        for sample in self.samples:
            if sample[0] > moment:
                after = sample
                break
            before = sample
        if after[0] <= before[0]:
            return before[1]
        share = min(1.0, max(0.0, (moment - before[0]) / (after[0] - before[0])))
        return before[1] + share * (after[1] - before[1])

    @property
    def peak_mib(self) -> float:
        return max(resident for _, _, resident in self.samples)
