// In place of an attribute, lib/subgroup_size_lanes.wgsl: the adapter's subgroups have one size, or it does not matter.
