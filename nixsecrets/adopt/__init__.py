"""Adoption: a map that grants exactly the access of existing configurations.

Reads `.sops.yaml` and agenix rules (`sources`, `evaluate`, `oldrules`), finds names for
the keys (`yamlnames`, `nixsource`, `hints`, `naming`), proposes a map (`propose`,
`patterns`, `planned`, `grouping`, `mapwriter`), proves that access stays equal
(`proof`) and plans the files to write (`switch`).
"""
