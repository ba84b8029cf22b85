"""Builds the kernels of `lingxi.engine.native` where a C++ compiler is present; without one the package is whole, and slower on a CPU."""

from setuptools import Extension, setup

HERE = "src/lingxi/engine/native/csrc"

setup(
    ext_modules=[
        Extension(
            "lingxi.engine.native._kernels",
            sources=[f"{HERE}/{name}.cpp" for name in ("native", "pool", "generic", "avx2", "avx512")],
            depends=[f"{HERE}/{name}" for name in ("kernels.h", "kernels.inc", "pool.h")],
            extra_compile_args=["-O3", "-std=c++17"],
            extra_link_args=["-lpthread"],
            language="c++",
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
