mod lists;
mod polls;
mod waits;
