"""How kernels are compiled, cached and launched, as far as a machine without a GPU can tell."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lutkit_runtime.engine import available_backends
from lutkit_runtime.errors import BackendError
from lutkit_runtime.kernels.cpu.compiling import choose_cache_folder, digest_sources

if "cuda" not in available_backends():
    pytest.skip("needs numba-cuda", allow_module_level=True)

from numba.core import config

from lutkit_runtime.engine.warmup import find_cache
from lutkit_runtime.kernels.cuda import compiling
from lutkit_runtime.kernels.cuda.compiling import MOST_THREADS, kernel
from lutkit_runtime.kernels.cuda.device import SIMULATOR

COMPILE = """
import sys
sys.path.insert(0, sys.argv[1])
from cuda_ptx import compile_to_ptx
from lutkit_runtime.engine.backends import BACKENDS
from lutkit_runtime.kernels.cuda.plane_lines import split_bits

with BACKENDS["cuda"].announcing(lambda: print("compiling")):
    print("nothing yet")
    for _ in range(2):
        compile_to_ptx(split_bits, split_bits.signatures[0])
"""


@kernel("int32[::1]")
def do_nothing(count, out):
    """Do nothing."""


class Recorder:
    """Stands for a compiled kernel: keeps how it was configured, and Numba's setting at that moment."""

    def __init__(self):
        self.seen = []

    def __getitem__(self, configuration):
        self.seen.append((configuration, config.CUDA_LOW_OCCUPANCY_WARNINGS))
        return lambda *arguments: None


def launch_recorded(count, monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(compiling, "_compile", lambda function, signatures: recorder)
    monkeypatch.setattr(compiling, "is_simulated", lambda: False)
    monkeypatch.setattr(compiling, "find_gpu", lambda: 0)
    declared = kernel("int32[::1]")(do_nothing.function)
    declared.launch(count, 0, None)
    return recorder.seen


def test_kernels_of_other_sources_are_not_taken_for_these(tmp_path, monkeypatch):
    # Numba looks at the kernel's own file only, and most of what a kernel does stands in others
    assert digest_sources("cuda") != digest_sources("cpu")
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    folder = choose_cache_folder("cuda")
    assert folder == tmp_path / f"lutkit-{digest_sources('cuda')}"
    assert find_cache("cuda") == str(folder)


def test_every_source_of_cuda_kernels_counts(tmp_path, monkeypatch):
    for name in ("__init__.py", "kernels/stage_layout.py", "kernels/cuda/rounding.py", "kernels/cpu/compiling.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(sys.modules[digest_sources.__module__], "__file__", str(tmp_path / "kernels/cpu/compiling.py"))
    digest = digest_sources.__wrapped__
    first = digest("cuda"), digest("cpu")
    (tmp_path / "kernels/cuda/rounding.py").write_text("2")
    assert digest("cuda") != first[0]
    assert digest("cpu") == first[1]


def test_numba_does_not_complain_about_small_pictures_and_keeps_its_settings(monkeypatch):
    monkeypatch.setattr(config, "CUDA_LOW_OCCUPANCY_WARNINGS", 1)
    assert launch_recorded(300, monkeypatch) == [((3, 128, 0), 0)]
    assert config.CUDA_LOW_OCCUPANCY_WARNINGS == 1


def test_more_threads_than_numbers_are_refused(monkeypatch):
    assert launch_recorded(MOST_THREADS, monkeypatch)[0][0] == (MOST_THREADS // 128, 128, 0)
    with pytest.raises(BackendError, match="2147483521 samples at once"):
        launch_recorded(MOST_THREADS + 1, monkeypatch)
    assert launch_recorded(0, monkeypatch) == []


def test_a_kernel_is_compiled_once_by_all_threads(monkeypatch):
    made = []
    monkeypatch.setattr(
        compiling, "_compile", lambda function, signatures: made.append(1) or threading.Event().wait(0.02)
    )
    declared = kernel("int32[::1]")(do_nothing.function)
    threads = [threading.Thread(target=declared.compile) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_every_gpu_has_a_kernel_of_its_own(monkeypatch):
    gpus = iter((0, 1, 0, 1))
    monkeypatch.setattr(compiling, "find_gpu", lambda: next(gpus))
    monkeypatch.setattr(compiling, "_compile", lambda function, signatures: object())
    declared = kernel("int32[::1]")(do_nothing.function)
    first, second, *again = (declared.compile() for _ in range(4))
    assert first is not second
    assert again == [first, second]


def test_a_toolkit_that_does_not_fit_is_one_line(monkeypatch):
    def fail(signatures, cache):
        raise RuntimeError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION\nand more")

    before = config.CACHE_DIR
    monkeypatch.setattr(compiling, "is_simulated", lambda: False)
    monkeypatch.setattr(compiling, "find_gpu", lambda: 0)
    monkeypatch.setattr(compiling.cuda, "jit", fail)
    with pytest.raises(BackendError, match=r"'do_nothing' cannot be compiled .*PTX_VERSION\): update"):
        kernel("int32[::1]")(do_nothing.function).compile()
    assert str(before) == str(config.CACHE_DIR)


def test_the_first_kernel_that_is_compiled_is_announced():
    folder = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, folder],
        env={**os.environ, SIMULATOR: "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "nvvm" in done.stderr.lower() or "nvrtc" in done.stderr.lower():
        pytest.skip("needs a CUDA toolkit: pip install 'numba-cuda[cu13]'")
    assert done.stdout.splitlines() == ["nothing yet", "compiling"], done.stderr


def test_warming_up_compiles_every_kernel():
    from lutkit_runtime.engine.warmup import list_cases
    from lutkit_runtime.kernels.cuda.catalogue import every_kernel

    names = [case.name for case in list_cases("cuda")]
    assert {declared.name for declared in every_kernel()} <= set(names)
