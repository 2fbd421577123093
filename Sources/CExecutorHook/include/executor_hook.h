// Ready jobs of simulations: what Swift's runtime would hand to its pool of threads, one thread at a time.
//
// A thread that called `executor_hook_begin` keeps every job that is enqueued on it for the global executor, whatever
// made it: tasks, child tasks, task groups, actors, streams, `Task {}`. Other threads are not touched.
#pragma once

#include <stddef.h>
#include <stdint.h>

/// From now on this thread's jobs wait here. The thread must not be inside a Swift task.
void executor_hook_begin(void);
/// Ends that; jobs that still wait are lost.
void executor_hook_end(void);
/// Jobs that are ready.
size_t executor_hook_count(void);
/// Runs the ready job at `index` until it ends or awaits; the last job takes its place.
void executor_hook_run(size_t index);
/// Jobs of this thread that asked the machine's clock to wake them, since `executor_hook_begin`: they escaped.
uint64_t executor_hook_escapes(void);
