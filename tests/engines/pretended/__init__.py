"""The engines on a CUDA that is not there: what a GPU would refuse, wait for or compute elsewhere, without one."""
