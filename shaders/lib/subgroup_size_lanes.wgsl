// An attribute of an entry point, for adapters that have subgroups of several sizes: LANES invocations, as tensor cores take them, or
// as few as share the registers of a thread with enough for each.
@subgroup_size(LANES)
