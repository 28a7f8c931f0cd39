// What every C++ peer shares: a clock, pinning, a random source, two-process runs, and the line protocol by
// which `compare` asks for one run at a time, so that ours and theirs alternate.
//
// Protocol, one line each way:
//   run SUBJECT CASE   ->  "NS OPS" (of a share: its part and its whole), or "error TEXT"
//   version            ->  one line
// End of input ends the program. The first run of a case sets its data up, untimed; another case takes it down.
// Argument: --quick shrinks every workload for a smoke run.
#pragma once
#include <algorithm>
#include <atomic>
#include <boost/version.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <time.h>
#include <unistd.h>
#include <vector>

namespace bench {

using u64 = std::uint64_t;

inline u64 now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return u64(t.tv_sec) * 1000000000ull + u64(t.tv_nsec);
}

// Pins to the n-th CPU this process was allowed to use when it started.
inline void pin(int n) {
  static const cpu_set_t allowed = [] {
    cpu_set_t s;
    sched_getaffinity(0, sizeof s, &s);
    return s;
  }();
  int cpu = -1;
  for (int i = 0; i < CPU_SETSIZE && n >= 0; ++i)
    if (CPU_ISSET(i, &allowed)) {
      cpu = i;
      --n;
    }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
}

template <class T> inline void keep(const T& v) { asm volatile("" : : "r,m"(v) : "memory"); }
inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

inline u64 mix(u64 x) {  // splitmix64's finaliser: a cheap bijection on 64-bit numbers
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

struct Rng {
  u64 state;
  u64 next() { return mix(state++); }
  u64 below(u64 n) { return u64((unsigned __int128)next() * n >> 64); }
};

[[noreturn]] inline void fail(const std::string& what) { throw std::runtime_error(what); }
inline void check(bool ok, const char* what) {
  if (!ok) fail(what);
}

// ---- measuring ---------------------------------------------------------------------------------

// What one run took; of a share, the part and the whole.
struct Sample {
  u64 ns;
  u64 ops;
  // Of two parties' work, the time of one's operation instead of one operation of both.
  Sample of_each() const { return {ns * 2, ops}; }
};

template <class F> Sample timed(u64 ops, F&& f) {
  const u64 t0 = now_ns();
  f();
  return {now_ns() - t0, ops};
}

inline bool g_quick = false;

// A workload's size: `full`, or a hundredth of it (at least 10) in a smoke run.
inline u64 scaled(u64 full) { return g_quick ? std::max<u64>(10, full / 100) : full; }

// Writes to every page without changing what is stored there.
inline void touch_pages(void* base, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 4096) {
    auto* b = reinterpret_cast<std::atomic<unsigned char>*>(static_cast<char*>(base) + i);
    b->fetch_or(0, std::memory_order_relaxed);
  }
}

// A name for an object of the system that no other process uses.
inline std::string own_name(const char* what) {
  return std::string("shmem-benches-peer-") + what + "-" + std::to_string(getpid());
}

// ---- memory shared by fork, two parties --------------------------------------------------------------

// A T in zeroed anonymous memory that a forked child shares; unmapped with the handle.
template <class T> class Shared {
 public:
  Shared() {
    void* p = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED) fail("mmap");
    p_ = new (p) T();
  }
  ~Shared() { munmap(static_cast<void*>(p_), sizeof(T)); }
  Shared(const Shared&) = delete;
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }

 private:
  T* p_;
};

// How long one party waits for the other before it gives up.
constexpr u64 kPatienceNs = 30000000000ull;

struct Meet {
  alignas(64) std::atomic<int> ready{0};
  alignas(64) std::atomic<int> stop{0};
  alignas(64) std::atomic<int> failed{0};
  alignas(64) u64 begin[2];
  alignas(64) u64 end[2];
  alignas(64) u64 ops[2];

  void start(int who) {
    ready.fetch_add(1);
    const u64 t0 = now_ns();
    for (u64 spins = 1; ready.load() < 2; ++spins) {
      check(!failed.load(), "the other party failed");
      if (spins % 4096 == 0) check(now_ns() - t0 < kPatienceNs, "the other party did not come");
      cpu_relax();
    }
    begin[who] = now_ns();
  }

  // The end of what is timed, if that is before the end of the party's work.
  void over(int who) { end[who] = now_ns(); }

  // body(who, *this) as one party; a failure ends the other one too.
  template <class Body> void side(int who, Body& body) {
    try {
      pin(who);
      ops[who] = body(who, *this);
      if (!end[who]) over(who);
    } catch (...) {
      failed.store(1);
      stop.store(1);
      throw;
    }
  }

  // From the later start to the later end, with the operations of both.
  Sample sample() const {
    return {std::max(end[0], end[1]) - std::max(begin[0], begin[1]), ops[0] + ops[1]};
  }
};

// Runs `work` in a forked child that dies with this process; gives what waits for it.
template <class Work> std::function<void()> in_fork(Work work) {
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      work();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "second process: %s\n", e.what());
      _exit(1);
    } catch (...) {
      _exit(1);
    }
    _exit(0);
  }
  return [child] {
    int status = 0;
    waitpid(child, &status, 0);
    check(status == 0, "the second process failed");
  };
}

// Runs `work` in a forked child: it leaves nothing in this process's memory.
template <class Work> Sample in_child(Work work) {
  Shared<Sample> sample;
  in_fork([&] { *sample = work(); })();
  return *sample;
}

// body(side, meet) runs in this process on the first CPU and in a forked child on the second. It prepares,
// calls meet.start(), works, and returns the number of operations it made. The time is from the later start to
// the later end, the operations are of both sides.
template <class Body> Sample two_processes(Body body) {
  Shared<Meet> m;
  const auto wait = in_fork([&] { m->side(1, body); });
  std::exception_ptr failed;
  try {
    m->side(0, body);
  } catch (...) {
    failed = std::current_exception();
  }
  pin(0);
  wait();
  if (failed) std::rethrow_exception(failed);
  return m->sample();
}

// The same with two threads of this process.
template <class Body> Sample two_threads(Body body) {
  Meet m{};
  std::exception_ptr failed[2];
  auto side = [&](int who) {
    try {
      m.side(who, body);
    } catch (...) {
      failed[who] = std::current_exception();
    }
  };
  std::thread other(side, 1);
  side(0);
  other.join();
  pin(0);
  for (const auto& f : failed)
    if (f) std::rethrow_exception(f);
  return m.sample();
}

// ---- the protocol ----------------------------------------------------------------------------------

using Run = std::function<Sample()>;
// "SUBJECT CASE" -> makes the case's data and gives what runs it once.
using Cases = std::map<std::string, std::function<Run()>>;

inline int serve(int argc, char** argv, const std::function<Cases()>& make_cases) {
  for (int i = 1; i < argc; ++i) g_quick |= std::strcmp(argv[i], "--quick") == 0;
  pin(0);
  const Cases cases = make_cases();
  // The contestants of one case at a time: the next one needs the memory.
  std::map<std::string, Run> live;
  std::string current;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      if (line == "version") {
        std::printf("Boost %d.%d.%d, g++ %s\n", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100, __VERSION__);
      } else if (line.rfind("run ", 0) == 0) {
        const std::string key = line.substr(4), running = key.substr(key.find(' ') + 1);
        if (current != running) {
          live.clear();
          current = running;
        }
        if (!live.count(key)) {
          const auto it = cases.find(key);
          if (it == cases.end()) fail("no such case: " + key);
          live[key] = it->second();
        }
        const Sample s = live[key]();
        std::printf("%llu %llu\n", (unsigned long long)s.ns, (unsigned long long)s.ops);
      } else {
        fail("not understood: " + line);
      }
    } catch (const std::exception& e) {
      std::printf("error %s\n", e.what());
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace bench
