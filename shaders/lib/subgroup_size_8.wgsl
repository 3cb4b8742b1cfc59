// An attribute of an entry point that needs many registers, for GPUs on which 8 invocations that share a thread's have enough.
@subgroup_size(8)
