"""Adoption: a map that gives exactly the access that old configurations give.

Reads `.sops.yaml` and agenix rules (`sources`, `evaluate`, `oldrules`), finds names for
the keys (`yamlnames`, `nixsource`, `hints`, `naming`), proposes a map (`propose`,
`patterns`, `planned`, `grouping`, `mapwriter`), proves that nobody gains or loses
(`proof`) and says what is to be written (`switch`).
"""
