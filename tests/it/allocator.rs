//! The program's own allocator, for the tests too: what a host is seen to hold here is what it would hold there. And a
//! count of what is allocated, which nobody else tells.

#![allow(unsafe_code, reason = "the trait of an allocator is unsafe")]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

/// Bytes that are allocated. What was freed does not count, whether or not the allocator has given it back.
pub fn allocated() -> usize {
    BYTES.load(Ordering::Relaxed)
}

// SAFETY: every call is passed on as it came, and counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: what the caller promises is what is asked for.
        counted(unsafe { MiMalloc.alloc(layout) }, layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        counted(unsafe { MiMalloc.alloc_zeroed(layout) }, layout)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above, and the place is one of the same allocator.
        unsafe { MiMalloc.dealloc(place, layout) };
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above, and the place is one of the same allocator.
        let moved = unsafe { MiMalloc.realloc(place, layout, size) };
        if !moved.is_null() {
            BYTES.fetch_add(size, Ordering::Relaxed);
            BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        moved
    }
}

fn counted(place: *mut u8, layout: Layout) -> *mut u8 {
    if !place.is_null() {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
    }
    place
}
