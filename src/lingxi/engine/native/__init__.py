"""Our own kernels for CPUs: int8 and fp32 products of packed weights, norms, positions, attention. Optional: built where a compiler is."""
