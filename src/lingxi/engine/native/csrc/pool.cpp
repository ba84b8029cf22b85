#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace lingxi {
namespace {

// How often a thread looks for the next loop before it sleeps: the loops of one forward pass follow each other within microseconds.
const int LOOKS = 2000;

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

struct Loop {
    long tasks = 0;
    void (*body)(void*, long) = nullptr;
    void* context = nullptr;
    std::atomic<long> next{0};

    void work() {
        for (long task; (task = next.fetch_add(1)) < tasks;) body(context, task);
    }
};

class Pool {
public:
    void run(long tasks, int threads, void (*body)(void*, long), void* context) {
        std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
        if (!turn || threads < 2 || tasks < 2) {
            for (long task = 0; task < tasks; task++) body(context, task);
            return;
        }
        grow(threads - 1);
        loop_.tasks = tasks;
        loop_.body = body;
        loop_.context = context;
        loop_.next = 0;
        wanted_ = threads - 1;
        busy_ = (int)workers_.size();
        {
            std::lock_guard<std::mutex> lock(sleep_);
            round_.fetch_add(1);
        }
        wake_.notify_all();
        loop_.work();
        // Whoever is late may want this very core: threads can be more than the cores left to them.
        for (int looks = LOOKS; busy_.load() > 0;) looks-- > 0 ? relax() : std::this_thread::yield();
    }

private:
    void grow(int count) {
        while ((int)workers_.size() < count) {
            int number = (int)workers_.size();
            long seen = round_.load();
            try {
                workers_.emplace_back([this, number, seen] { wait(number, seen); });
            } catch (const std::system_error&) {  // no more threads are to be had: those there are do the work
                return;
            }
            workers_.back().detach();
        }
    }

    void wait(int number, long seen) {
        for (;;) {
            int looks = LOOKS;
            while (round_.load() == seen && looks-- > 0) relax();
            if (round_.load() == seen) {
                std::unique_lock<std::mutex> lock(sleep_);
                wake_.wait(lock, [&] { return round_.load() != seen; });
            }
            seen = round_.load();
            if (number < wanted_) loop_.work();
            busy_.fetch_sub(1);
        }
    }

    std::mutex turn_, sleep_;
    std::condition_variable wake_;
    std::atomic<long> round_{0};
    std::atomic<int> busy_{0};
    int wanted_ = 0;
    Loop loop_;
    std::vector<std::thread> workers_;
};

Pool* pool = nullptr;
std::once_flag made;

// Threads do not live through a fork: the child begins with a pool of its own. (The old one is left: its threads may hold its locks.)
void begin() { pool = new Pool; }

}  // namespace

void parallel(long tasks, int threads, void (*body)(void*, long), void* context) {
    std::call_once(made, [] {
        begin();
#if defined(__unix__) || defined(__APPLE__)
        pthread_atfork(nullptr, nullptr, begin);
#endif
    });
    pool->run(tasks, threads, body, context);
}

}  // namespace lingxi
