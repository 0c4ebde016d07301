"""Plausible wrong answers, one defect each, that the grading tests must reject.

A mutant is one file, `phaseN/mN_E_what_is_wrong.py`: a docstring of one line says what is wrong, and the file defines
nothing but the symbol of exercise N.E. It is graded like a submission, on the tests of its own exercise only.
The files in right/ are the counterweight: right answers written otherwise than the solutions, which must be accepted.
"""
