"""Our own kernels for CPUs: products of packed int8 and fp32 weights, norms, positions, attention.

Optional: they are built where a C++ compiler is.
"""
