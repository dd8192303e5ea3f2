//! Irrigation rules, interlocks, budgets and valve leases.
