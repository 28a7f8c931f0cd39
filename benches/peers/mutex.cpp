// Locks that processes can share: a free one, and two processes on one counter.
#include "bench.hpp"
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <pthread.h>

using namespace bench;

template <bool kRobust> struct Pthread {
  pthread_mutex_t m;
  Pthread() {
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    if (kRobust) pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&m, &a);
  }
  void lock() { pthread_mutex_lock(&m); }
  void unlock() { pthread_mutex_unlock(&m); }
};

// The lock and what it protects, side by side as in a mutex that holds its value.
template <class L> struct Counter {
  alignas(64) L lock;
  volatile u64 count = 0;
};

template <class L> void add(Cases& c, const std::string& subject) {
  c[subject + " free"] = []() -> Run {
    const u64 ops = scaled(3000000);
    auto d = std::make_shared<Shared<Counter<L>>>();
    return [d, ops] {
      Counter<L>& it = **d;
      const u64 before = it.count;
      const Sample s = timed(ops, [&] {
        for (u64 i = 0; i < ops; ++i) {
          it.lock.lock();
          it.count = it.count + 1;
          it.lock.unlock();
        }
      });
      check(it.count == before + ops, "lost updates");
      return s;
    };
  };
  c[subject + " two processes"] = []() -> Run {
    const u64 run_ns = g_quick ? 10000000 : 150000000;
    return [run_ns] {
      Shared<Counter<L>> d;
      const Sample s = two_processes([&](int who, Meet& m) -> u64 {
        u64 done = 0;
        m.start(who);
        while (!m.stop.load(std::memory_order_relaxed)) {
          d->lock.lock();
          d->count = d->count + 1;
          d->lock.unlock();
          if (++done % 64 == 0 && who == 0 && now_ns() - m.begin[0] > run_ns) m.stop.store(1);
        }
        return done;
      });
      check(d->count == s.ops, "lost updates");
      return s;
    };
  };
}

int main(int argc, char** argv) {
  std::thread([] {}).join();  // from here on glibc knows that there may be threads
  return serve(argc, argv, [] {
    Cases c;
    add<boost::interprocess::interprocess_mutex>(c, "boost");
    add<Pthread<false>>(c, "pthread-shared");
    add<Pthread<true>>(c, "pthread-robust");
    return c;
  });
}
