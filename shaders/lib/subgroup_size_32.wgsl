// An attribute of an entry point, for adapters that have subgroups of several sizes: tensor cores take 32 lanes.
@subgroup_size(32)
