// An attribute of an entry point, for adapters that have subgroups of several sizes: tensor cores take LANES lanes.
@subgroup_size(LANES)
