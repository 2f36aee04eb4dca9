mod lists;
mod memory;
mod polls;
mod waits;
