// A managed segment of Boost.Interprocess whose pages are there before anything is timed, and containers in it.
#pragma once
#include "bench.hpp"
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>

namespace bench {

namespace bip = boost::interprocess;
using Segment = bip::managed_shared_memory;
using Manager = Segment::segment_manager;
template <class T> using Alloc = bip::allocator<T, Manager>;

// One large segment for all of a program's cases. Its name is removed at once: only this mapping is used.
inline Segment& arena() {
  static std::unique_ptr<Segment> segment = [] {
    const std::string name = own_name("arena");
    bip::shared_memory_object::remove(name.c_str());
    auto s = std::make_unique<Segment>(bip::create_only, name.c_str(), size_t(g_quick ? 64 : 768) << 20);
    bip::shared_memory_object::remove(name.c_str());
    touch_pages(s->get_address(), s->get_size());
    return s;
  }();
  return *segment;
}

// A container in the segment, made with the segment's allocator and destroyed with this.
template <class C> struct InSegment {
  C* c;
  InSegment() : c(arena().construct<C>(bip::anonymous_instance)(arena().get_segment_manager())) {}
  ~InSegment() { arena().destroy_ptr(c); }
  InSegment(const InSegment&) = delete;
  C& operator*() { return *c; }
};

// boost::unordered maps have no constructor from an allocator's argument alone.
template <class C> struct HashInSegment {
  C* c;
  HashInSegment()
      : c(arena().construct<C>(bip::anonymous_instance)(0, typename C::hasher(), typename C::key_equal(),
                                                        typename C::allocator_type(arena().get_segment_manager()))) {}
  ~HashInSegment() { arena().destroy_ptr(c); }
  HashInSegment(const HashInSegment&) = delete;
  C& operator*() { return *c; }
};

}  // namespace bench
