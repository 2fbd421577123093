// The runtime asks a hook before it enqueues a job on the global executor (swift/ABI/Executor.h). The hook is set once
// per process and passes on what is not enqueued by a simulating thread.
#include "executor_hook.h"

#include <stdbool.h>
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#define SWIFT_CC __attribute__((swiftcall))

typedef struct {
    void *identity;
    uintptr_t implementation;
} serial_executor;

typedef SWIFT_CC void (*enqueue)(void *job);
typedef SWIFT_CC void (*enqueue_later)(unsigned long long delay, void *job);
typedef SWIFT_CC void (*enqueue_at)(long long, long long, long long, long long, int, void *job);

extern SWIFT_CC void (*swift_task_enqueueGlobal_hook)(void *job, enqueue original);
extern SWIFT_CC void (*swift_task_enqueueGlobalWithDelay_hook)(unsigned long long, void *job, enqueue_later original);
extern SWIFT_CC void (*swift_task_enqueueGlobalWithDeadline_hook)(
    long long, long long, long long, long long, int, void *job, enqueue_at original);
extern SWIFT_CC void swift_job_run(void *job, serial_executor executor);

static _Thread_local struct {
    void **jobs;
    size_t count;
    size_t capacity;
    uint64_t escapes;
    bool is_simulating;
} ready;

static SWIFT_CC void enqueue_here(void *job, enqueue original) {
    if (!ready.is_simulating) {
        original(job);
        return;
    }
    if (ready.count == ready.capacity) {
        ready.capacity = ready.capacity ? ready.capacity * 2 : 64;
        ready.jobs = realloc(ready.jobs, ready.capacity * sizeof *ready.jobs);
        if (!ready.jobs) abort();
    }
    ready.jobs[ready.count++] = job;
}

static SWIFT_CC void enqueue_later_here(unsigned long long delay, void *job, enqueue_later original) {
    if (ready.is_simulating) ready.escapes++;
    original(delay, job);
}

static SWIFT_CC void enqueue_at_here(
    long long seconds, long long nanoseconds, long long leeway_seconds, long long leeway, int clock, void *job,
    enqueue_at original) {
    if (ready.is_simulating) ready.escapes++;
    original(seconds, nanoseconds, leeway_seconds, leeway, clock, job);
}

void executor_hook_begin(void) {
    __atomic_store_n(&swift_task_enqueueGlobal_hook, enqueue_here, __ATOMIC_RELEASE);
    __atomic_store_n(&swift_task_enqueueGlobalWithDelay_hook, enqueue_later_here, __ATOMIC_RELEASE);
    __atomic_store_n(&swift_task_enqueueGlobalWithDeadline_hook, enqueue_at_here, __ATOMIC_RELEASE);
#ifdef __GLIBC__
    // What one run gives back the next one takes: the kernel has none of it in between.
    mallopt(M_TOP_PAD, 64 << 20);
#endif
    ready.count = 0;
    ready.escapes = 0;
    ready.is_simulating = true;
}

void executor_hook_end(void) {
    free(ready.jobs);
    ready.jobs = NULL;
    ready.count = 0;
    ready.capacity = 0;
    ready.is_simulating = false;
}

size_t executor_hook_count(void) { return ready.count; }

void executor_hook_run(size_t index) {
    if (index >= ready.count) abort();
    void *job = ready.jobs[index];
    ready.jobs[index] = ready.jobs[--ready.count];
    swift_job_run(job, (serial_executor){NULL, 0});
}

uint64_t executor_hook_escapes(void) { return ready.escapes; }
