// Threads that wait for loops. A loop started while another runs is computed by its caller alone: several callers never wait for each other.
#pragma once

namespace lingxi {

// body(context, task) for every task in [0, tasks), on at most `threads` threads, the caller's among them.
void parallel(long tasks, int threads, void (*body)(void*, long), void* context);

template <typename Body>
void for_each(long tasks, int threads, Body body) {
    parallel(tasks, threads, [](void* context, long task) { (*static_cast<Body*>(context))(task); }, &body);
}

}  // namespace lingxi
