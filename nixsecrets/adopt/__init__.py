"""Adoption: a map that gives exactly the access that old configurations give.

Reads `.sops.yaml` and agenix rules (`sources`, `evaluate`, `oldsops`, `oldage`), finds
names for the keys (`yamlnames`, `nixsource`, `naming`), proposes a map (`propose`,
`simplify`, `grouping`, `mapwriter`) and proves that nobody gains or loses (`proof`).
"""
