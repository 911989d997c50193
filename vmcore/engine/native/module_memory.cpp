// PhysicalMemory: the guest-physical address space as Python sees it.  Its ports are in module_ports.cpp.
#include "module.h"

#include <algorithm>
#include <structmember.h>
#include <new>
#ifdef _WIN32
#include <windows.h>
#else
#include <sys/mman.h>
#endif

// --------------------------------------------------------------------------------------------------------- host memory

namespace {

constexpr u64 PAGE = 4096;
#if defined(__SANITIZE_ADDRESS__) && !defined(_WIN32)
constexpr u64 GUARD = 16 * PAGE;  // on both sides: the sanitizer does not watch mapped memory
#else
constexpr u64 GUARD = 0;
#endif

// Zeroed pages that take no memory before they are touched; nullptr when the host refuses.
u8 *map_host(u64 size) {
#ifdef _WIN32
    return static_cast<u8 *>(VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
#else
    if (size > SIZE_MAX / 2) return nullptr;
    const u64 whole = (size + PAGE - 1) & ~(PAGE - 1);
    void *p = mmap(nullptr, whole + 2 * GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    u8 *host = static_cast<u8 *>(p) + GUARD;
    if (GUARD && (mprotect(p, GUARD, PROT_NONE) || mprotect(host + whole, GUARD, PROT_NONE))) {
        munmap(p, whole + 2 * GUARD);
        return nullptr;
    }
    return host;
#endif
}

void unmap_host(u8 *host, u64 size) {
    if (!host) return;
#ifdef _WIN32
    (void)size;
    VirtualFree(host, 0, MEM_RELEASE);
#else
    munmap(host - GUARD, ((size + PAGE - 1) & ~(PAGE - 1)) + 2 * GUARD);
#endif
}

constexpr u64 ADDRESS_LIMIT = u64(1) << 52;  // SDM Vol. 3A 4.1.4: MAXPHYADDR is at most 52

PyMemory *self_of(PyObject *o) { return reinterpret_cast<PyMemory *>(o); }

PyObject *usage_error(PyObject *self) {
    ModuleState *state = state_of(self);
    return state ? state->usage_error : PyExc_RuntimeError;
}

const char *kind_name(const PyMemory *m, const Region &r) {
    if ((*m->mappings)[r.id].alias) return "alias";
    return r.kind == RegionKind::RAM ? "RAM" : r.kind == RegionKind::ROM ? "ROM" : "device";
}

using Text = char[64];
const char *range_text(Text &out, u64 start, u64 size) {
    PyOS_snprintf(out, sizeof out, "0x%llx-0x%llx", static_cast<unsigned long long>(start),
                  static_cast<unsigned long long>(start + size - 1));
    return out;
}

// Checks a new region's place; false with an exception set.
bool check_place(PyMemory *m, const char *what, u64 start, u64 size, bool whole_pages) {
    Text mine, theirs;
    if (size == 0) {
        PyErr_Format(PyExc_ValueError, "%s: the size must not be zero", what);
        return false;
    }
    if (start >= ADDRESS_LIMIT || size > ADDRESS_LIMIT - start) {
        PyErr_Format(PyExc_ValueError, "%s at %s: expected addresses below 0x10000000000000 (52 bits)", what,
                     range_text(mine, start, size));
        return false;
    }
    if (whole_pages && ((start | size) & (PAGE - 1))) {
        PyErr_Format(PyExc_ValueError, "%s at %s: expected whole pages of 0x1000 bytes", what, range_text(mine, start, size));
        return false;
    }
    for (const Region &r : m->memory->regions) {
        if (start < r.start + r.size && r.start < start + size) {
            PyErr_Format(usage_error(reinterpret_cast<PyObject *>(m)), "%s at %s overlaps %s at %s", what,
                         range_text(mine, start, size), kind_name(m, r), range_text(theirs, r.start, r.size));
            return false;
        }
    }
    return true;
}

u32 new_mapping(PyMemory *m) {
    if (!m->free_mappings->empty()) {
        u32 id = m->free_mappings->back();
        m->free_mappings->pop_back();
        (*m->mappings)[id].used = true;
        return id;
    }
    m->mappings->emplace_back();
    m->mappings->back().used = true;
    return u32(m->mappings->size() - 1);
}

void insert_region(PyMemory *m, const Region &region) {
    auto &regions = m->memory->regions;
    auto at = std::upper_bound(regions.begin(), regions.end(), region.start,
                               [](u64 start, const Region &r) { return start < r.start; });
    regions.insert(at, region);
    m->memory->changed();
}

// A Python exception for what C++ throws in here (only ever lack of memory).
PyObject *out_of_memory() { return PyErr_NoMemory(); }

// ------------------------------------------------------------------------------------------------------------ the type

PyObject *memory_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {nullptr};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":PhysicalMemory", const_cast<char **>(names))) return nullptr;
    auto *self = self_of(type->tp_alloc(type, 0));
    if (!self) return nullptr;
    try {
        self->memory = new Memory();
        self->mappings = new std::vector<Mapping>();
        self->free_mappings = new std::vector<u32>();
        self->ranges = new std::vector<PortRange>(1);
        self->collected = new Collected();
        self->retired_blocks = new std::vector<std::shared_ptr<HostBlock>>();
        (*self->ranges)[0].count = 0x10000;
        self->memory->owner = self;
    } catch (const std::bad_alloc &) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->port_range = reinterpret_cast<u16 *>(map_host(0x10000 * sizeof(u16)));
    if (!self->port_range) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return reinterpret_cast<PyObject *>(self);
}

int memory_traverse(PyObject *o, visitproc visit, void *arg) {
    PyMemory *m = self_of(o);
    Py_VISIT(Py_TYPE(o));
    Py_VISIT(m->error);
    if (m->mappings)
        for (const Mapping &x : *m->mappings)
            if (int stop = x.access.traverse(visit, arg)) return stop;
    if (m->ranges)
        for (const PortRange &r : *m->ranges)
            if (int stop = r.access.traverse(visit, arg)) return stop;
    return 0;
}

int memory_clear(PyObject *o) {
    PyMemory *m = self_of(o);
    Py_CLEAR(m->error);
    // What goes with a handler may look at this memory: it is empty by then.
    for (std::size_t i = 0; m->mappings && i < m->mappings->size(); i++) DeviceAccess old = std::move((*m->mappings)[i].access);
    for (std::size_t i = 0; m->ranges && i < m->ranges->size(); i++) DeviceAccess old = std::move((*m->ranges)[i].access);
    return 0;
}

void memory_dealloc(PyObject *o) {
    PyMemory *m = self_of(o);
    PyTypeObject *type = Py_TYPE(o);
    PyObject_GC_UnTrack(o);
    if (m->weakrefs) PyObject_ClearWeakRefs(o);
    memory_clear(o);
    delete m->mappings;
    delete m->free_mappings;
    delete m->ranges;
    delete m->collected;
    delete m->retired_blocks;
    delete m->memory;
    unmap_host(reinterpret_cast<u8 *>(m->port_range), 0x10000 * sizeof(u16));
    type->tp_free(o);
    Py_DECREF(type);
}

// ------------------------------------------------------------------------------------------------------------- mapping

// Takes a buffer of somebody else's as a block's memory; false with an exception set.
bool lend(PyObject *buffer, u64 size, const char *what, u64 start, HostBlock *block) {
    Text mine;
    if (PyObject_GetBuffer(buffer, &block->lent, PyBUF_WRITABLE) < 0) return false;
    if (u64(block->lent.len) != size || (reinterpret_cast<std::uintptr_t>(block->lent.buf) & (PAGE - 1))) {
        PyErr_Format(PyExc_ValueError, "a buffer of %zd bytes at %p for %s at %s: expected one of that size that begins at a page",
                     block->lent.len, block->lent.buf, what, range_text(mine, start, size));
        return false;
    }
    block->host = static_cast<u8 *>(block->lent.buf);
    return true;
}

PyObject *memory_map_ram(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"start", "size", "rom", "contents", "buffer", nullptr};
    PyMemory *m = self_of(o);
    PyObject *start_o, *size_o, *contents_o = Py_None, *buffer_o = Py_None;
    int rom = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$pOO:map_ram", const_cast<char **>(names), &start_o, &size_o, &rom,
                                     &contents_o, &buffer_o))
        return nullptr;
    u64 start, size;
    if (unsigned_argument(start_o, "start", ~u64(0), &start) < 0 || unsigned_argument(size_o, "size", ~u64(0), &size) < 0)
        return nullptr;
    const char *what = rom ? "ROM" : "RAM";
    if (!require_parked(m) || !check_place(m, what, start, size, true)) return nullptr;
    Py_buffer contents{};
    if (contents_o != Py_None) {
        if (PyObject_GetBuffer(contents_o, &contents, PyBUF_SIMPLE) < 0) return nullptr;
        if (u64(contents.len) > size) {
            Text mine;
            PyErr_Format(PyExc_ValueError, "contents of %zd bytes do not fit %s at %s", contents.len, what,
                         range_text(mine, start, size));
            PyBuffer_Release(&contents);
            return nullptr;
        }
    }
    try {
        auto block = std::make_shared<HostBlock>();
        if (buffer_o != Py_None && !lend(buffer_o, size, what, start, block.get())) {
            if (contents.obj) PyBuffer_Release(&contents);
            return nullptr;
        }
        if (!block->host) block->host = map_host(size);
        block->size = size;
        block->flags_size = size / PAGE;
        block->flags = block->host ? map_host(block->flags_size) : nullptr;
        if (!block->host || !block->flags) {
            if (contents.obj) PyBuffer_Release(&contents);
            Text mine;
            return PyErr_Format(PyExc_MemoryError, "the host has no memory for %s at %s", what, range_text(mine, start, size));
        }
        if (contents.len) {
            std::memcpy(block->host, contents.buf, size_t(contents.len));
            std::memset(block->flags, PAGE_WRITTEN, (u64(contents.len) + PAGE - 1) / PAGE);
        }
        if (contents.obj) PyBuffer_Release(&contents);
        // What lent memory holds is not known, and others may write to it at any time: every page counts as written.
        if (block->lent.obj) std::memset(block->flags, PAGE_TOUCHED, block->flags_size);
        u32 id = new_mapping(m);
        insert_region(m, Region{start, size, block->host, block->flags, rom ? RegionKind::ROM : RegionKind::RAM, id});
        (*m->mappings)[id].block = std::move(block);
        (*m->mappings)[id].alias = false;
    } catch (const std::bad_alloc &) {
        return out_of_memory();
    }
    Py_RETURN_NONE;
}

PyObject *memory_map_device(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"start", "size", "read", "write", "offset", "cells", "readers", "writers", "counter", nullptr};
    PyMemory *m = self_of(o);
    PyObject *start_o, *size_o;
    AccessArguments given;
    DeviceAccess access;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|$OOOOO:map_device", const_cast<char **>(names), &start_o, &size_o, &given.read,
                                     &given.write, &given.offset, &given.cells, &given.readers, &given.writers, &given.counter))
        return nullptr;
    u64 start, size;
    if (unsigned_argument(start_o, "start", ~u64(0), &start) < 0 || unsigned_argument(size_o, "size", ~u64(0), &size) < 0 ||
        !parse_access(given, &access))
        return nullptr;
    if (!require_parked(m) || !check_place(m, "device", start, size, false)) return nullptr;
    try {
        u32 id = new_mapping(m);
        insert_region(m, Region{start, size, nullptr, nullptr, RegionKind::DEVICE, id});
        Mapping &mapping = (*m->mappings)[id];
        mapping.alias = false;
        mapping.access = std::move(access);
    } catch (const std::bad_alloc &) {
        return out_of_memory();
    }
    Py_RETURN_NONE;
}

PyObject *memory_map_alias(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"start", "size", "target", "rom", nullptr};
    PyMemory *m = self_of(o);
    PyObject *start_o, *size_o, *target_o;
    int rom = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|$p:map_alias", const_cast<char **>(names), &start_o, &size_o, &target_o,
                                     &rom))
        return nullptr;
    u64 start, size, target;
    if (unsigned_argument(start_o, "start", ~u64(0), &start) < 0 || unsigned_argument(size_o, "size", ~u64(0), &size) < 0 ||
        unsigned_argument(target_o, "target", ~u64(0), &target) < 0)
        return nullptr;
    if (!require_parked(m) || !check_place(m, "alias", start, size, true)) return nullptr;
    const Region *behind = m->memory->find(target);
    Text mine;
    if ((target & (PAGE - 1)) || !behind || behind->kind == RegionKind::DEVICE || size > behind->start + behind->size - target)
        return PyErr_Format(PyExc_ValueError, "alias of %s: expected whole pages inside one RAM or ROM region",
                            range_text(mine, target, size));
    try {
        std::shared_ptr<HostBlock> block = (*m->mappings)[behind->id].block;
        u64 offset = target - behind->start;
        Region region{start, size, behind->host + offset, behind->page_flags + offset / PAGE,
                      rom ? RegionKind::ROM : behind->kind, 0};
        region.id = new_mapping(m);
        insert_region(m, region);
        (*m->mappings)[region.id].block = std::move(block);
        (*m->mappings)[region.id].alias = true;
    } catch (const std::bad_alloc &) {
        return out_of_memory();
    }
    Py_RETURN_NONE;
}

PyObject *memory_map_planes(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"start", "size", "target", "registers", "offset", nullptr};
    PyMemory *m = self_of(o);
    PyObject *start_o, *size_o, *target_o, *registers_o, *offset_o = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|$O:map_planes", const_cast<char **>(names), &start_o, &size_o, &target_o,
                                     &registers_o, &offset_o))
        return nullptr;
    u64 start, size, target, skip = 0;
    if (unsigned_argument(start_o, "start", ~u64(0), &start) < 0 || unsigned_argument(size_o, "size", ~u64(0), &size) < 0 ||
        unsigned_argument(target_o, "target", ~u64(0), &target) < 0 ||
        (offset_o && unsigned_argument(offset_o, "offset", ~u64(0) >> 8, &skip) < 0))
        return nullptr;
    if (!require_parked(m) || !check_place(m, "planes", start, size, true)) return nullptr;
    const Region *behind = m->memory->find(target);
    if (!behind || behind->kind != RegionKind::RAM || behind->start != target)
        return PyErr_Format(PyExc_ValueError, "planes of 0x%llx: expected the start of a RAM region", static_cast<unsigned long long>(target));
    try {
        auto planes = std::make_unique<Planes>();
        if (PyObject_GetBuffer(registers_o, &planes->shared, PyBUF_WRITABLE) < 0) return nullptr;
        if (planes->shared.len < Py_ssize_t(Planes::SHARED))
            return PyErr_Format(PyExc_ValueError, "registers: %zd bytes: expected at least %u", planes->shared.len, unsigned(Planes::SHARED));
        planes->block = (*m->mappings)[behind->id].block;
        planes->skip = skip;
        u32 id = new_mapping(m);
        insert_region(m, Region{start, size, nullptr, nullptr, RegionKind::DEVICE, id});
        Mapping &mapping = (*m->mappings)[id];
        mapping.alias = false;
        mapping.planes = std::move(planes);
    } catch (const std::bad_alloc &) {
        return out_of_memory();
    }
    Py_RETURN_NONE;
}

PyObject *memory_unmap(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"start", "size", nullptr};
    PyMemory *m = self_of(o);
    PyObject *start_o, *size_o;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:unmap", const_cast<char **>(names), &start_o, &size_o)) return nullptr;
    u64 start, size;
    if (unsigned_argument(start_o, "start", ~u64(0), &start) < 0 || unsigned_argument(size_o, "size", ~u64(0), &size) < 0)
        return nullptr;
    if (!require_parked(m)) return nullptr;
    auto &regions = m->memory->regions;
    auto at = std::find_if(regions.begin(), regions.end(), [&](const Region &r) { return r.start == start && r.size == size; });
    Text mine;
    if (at == regions.end())
        return PyErr_Format(usage_error(o), "no region at %s to unmap", size ? range_text(mine, start, size) : "size 0");
    u32 id = at->id;
    if (at->kind != RegionKind::DEVICE) invalidate_code(*m->memory, at->host, at->size);
    regions.erase(at);
    m->memory->changed();
    Mapping &mapping = (*m->mappings)[id];
    try {
        // The instruction that runs may still hold a pointer into it.
        if (m->running && mapping.block) m->retired_blocks->push_back(mapping.block);
        m->free_mappings->push_back(id);
    } catch (const std::bad_alloc &) {
        return out_of_memory();
    }
    Mapping old;
    std::swap(old, mapping);
    Py_RETURN_NONE;
}

PyObject *memory_regions(PyObject *o, PyObject *) {
    PyMemory *m = self_of(o);
    if (!require_parked(m)) return nullptr;
    PyObject *list = PyList_New(0);
    if (!list) return nullptr;
    for (const Region &r : m->memory->regions) {
        PyObject *item = Py_BuildValue("(KKs)", r.start, r.size, kind_name(m, r));
        if (!item || PyList_Append(list, item) < 0) {
            Py_XDECREF(item);
            Py_DECREF(list);
            return nullptr;
        }
        Py_DECREF(item);
    }
    return list;
}

// ------------------------------------------------------------------------------------------------------------ contents

bool place_arguments(PyMemory *m, PyObject *const *args, Py_ssize_t count, const char *name, u64 *pa) {
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "%s: expected 2 arguments, got %zd", name, count);
        return false;
    }
    return unsigned_argument(args[0], "address", ADDRESS_LIMIT - 1, pa) == 0 && require_parked(m);
}

PyObject *memory_read(PyObject *o, PyObject *const *args, Py_ssize_t count) {
    PyMemory *m = self_of(o);
    u64 pa, size;
    if (!place_arguments(m, args, count, "read", &pa) || unsigned_argument(args[1], "size", u64(PY_SSIZE_T_MAX) / 2, &size) < 0)
        return nullptr;
    PyObject *bytes = PyBytes_FromStringAndSize(nullptr, Py_ssize_t(size));
    if (!bytes) return nullptr;
    m->memory->read(pa, PyBytes_AS_STRING(bytes), size);
    return bytes;
}

PyObject *memory_write(PyObject *o, PyObject *const *args, Py_ssize_t count) {
    PyMemory *m = self_of(o);
    u64 pa;
    Py_buffer data;
    if (!place_arguments(m, args, count, "write", &pa) || PyObject_GetBuffer(args[1], &data, PyBUF_SIMPLE) < 0) return nullptr;
    m->memory->write(pa, data.buf, u64(data.len));
    PyBuffer_Release(&data);
    Py_RETURN_NONE;
}

// Like write, but all of it must be RAM or ROM, and ROM takes it: for loaders and debuggers.
PyObject *memory_load(PyObject *o, PyObject *const *args, Py_ssize_t count) {
    PyMemory *m = self_of(o);
    u64 pa;
    Py_buffer data;
    if (!place_arguments(m, args, count, "load", &pa) || PyObject_GetBuffer(args[1], &data, PyBUF_SIMPLE) < 0) return nullptr;
    u64 size = u64(data.len);
    for (u64 done = 0; done < size;) {
        const Region *r = m->memory->find(pa + done);
        if (!r || r->kind == RegionKind::DEVICE) {
            Text range, hole;
            PyErr_Format(PyExc_ValueError, "load at %s: no RAM or ROM at %s", range_text(range, pa, size),
                         range_text(hole, pa + done, 1));
            PyBuffer_Release(&data);
            return nullptr;
        }
        done += std::min(size - done, r->start + r->size - (pa + done));
    }
    for (u64 done = 0; done < size;) {
        const Region *r = m->memory->find(pa + done);
        u64 offset = pa + done - r->start, part = std::min(size - done, r->size - offset);
        note_store(*m->memory, *r, offset, part);
        for (u64 page = offset / PAGE; page <= (offset + part - 1) / PAGE; page++) r->page_flags[page] |= PAGE_WRITTEN;
        std::memcpy(r->host + offset, static_cast<const u8 *>(data.buf) + done, part);
        done += part;
    }
    PyBuffer_Release(&data);
    Py_RETURN_NONE;
}

// ------------------------------------------------------------------------------------------------------- dirty pages

bool append_address(PyObject *list, u64 pa) {
    PyObject *item = PyLong_FromUnsignedLongLong(pa);
    bool good = item && PyList_Append(list, item) == 0;
    Py_XDECREF(item);
    return good;
}

PyObject *memory_dirty_pages(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"start", "size", "clear", "reader", nullptr};
    PyMemory *m = self_of(o);
    PyObject *start_o = nullptr, *size_o = nullptr;
    int clear = 1, reader = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO$pi:dirty_pages", const_cast<char **>(names), &start_o, &size_o, &clear, &reader))
        return nullptr;
    if (reader < 0 || reader > 1) return PyErr_Format(PyExc_ValueError, "reader=%d: expected 0 or 1", reader);
    const u8 bit = reader ? PAGE_DIRTY_1 : PAGE_DIRTY;
    u64 start = 0, size = ADDRESS_LIMIT;
    if ((start_o && unsigned_argument(start_o, "start", ADDRESS_LIMIT, &start) < 0) ||
        (size_o && unsigned_argument(size_o, "size", ADDRESS_LIMIT, &size) < 0) || !require_parked(m))
        return nullptr;
    u64 end = std::min(ADDRESS_LIMIT, start + size);
    PyObject *list = PyList_New(0);
    if (!list) return nullptr;
    // First report, then clear: pages may show at several addresses.
    for (int pass = 0; pass < (clear ? 2 : 1); pass++) {
        for (const Region &r : m->memory->regions) {
            if (r.kind == RegionKind::DEVICE || r.start >= end || r.start + r.size <= start) continue;
            u64 first = start > r.start ? (start - r.start) / PAGE : 0;
            u64 last = std::min(r.size, end - r.start + PAGE - 1) / PAGE;
            for (u64 page = first; page < last; page++) {
                u8 &flags = r.page_flags[page];
                if (!(flags & bit)) continue;
                if (pass == 0) {
                    if (!append_address(list, r.start + page * PAGE)) {
                        Py_DECREF(list);
                        return nullptr;
                    }
                } else {
                    flags = u8((flags & ~bit) | PAGE_TOUCHED);
                    tlb_drop_write(*m->memory, r.host + page * PAGE);
                }
            }
        }
    }
    return list;
}

bool is_zero(const u8 *page) {
    for (unsigned i = 0; i < PAGE; i += 32)
        if (load_host<u64>(page + i) | load_host<u64>(page + i + 8) | load_host<u64>(page + i + 16) | load_host<u64>(page + i + 24))
            return false;
    return true;
}

// Calls visit(address, page) for every page of RAM and ROM that is not all zeros, aliases left out.
template <class F> void each_used_page(PyMemory *m, F visit) {
    for (const Region &r : m->memory->regions) {
        if (r.kind == RegionKind::DEVICE || (*m->mappings)[r.id].alias) continue;
        for (u64 page = 0, pages = r.size / PAGE; page < pages; page++) {
            // Whole words of flags that are zero: nothing was ever written there.
            if ((page & 7) == 0 && page + 8 <= pages && load_host<u64>(r.page_flags + page) == 0) {
                page += 7;
                continue;
            }
            if (!(r.page_flags[page] & (PAGE_WRITTEN | PAGE_TOUCHED))) continue;
            const u8 *host = r.host + page * PAGE;
            if (!is_zero(host) && !visit(r.start + page * PAGE, host)) return;
        }
    }
}

PyObject *memory_used_pages(PyObject *o, PyObject *) {
    PyMemory *m = self_of(o);
    if (!require_parked(m)) return nullptr;
    PyObject *list = PyList_New(0);
    if (!list) return nullptr;
    bool good = true;
    each_used_page(m, [&](u64 pa, const u8 *) { return good = append_address(list, pa); });
    if (!good) Py_CLEAR(list);
    return list;
}

// A hash for telling memories apart, not for cryptography: four lanes of multiply and rotate over 64-bit words, the page
// addresses included, finalised by xor-shift-multiply.  The constants are the fractional parts of golden ratio, e, pi and sqrt 2, made odd.
struct Hash {
    u64 lane[4] = {0x9e3779b97f4a7c15, 0xb7e151628aed2a6b, 0x243f6a8885a308d3, 0x6a09e667f3bcc909};
    static u64 rotate(u64 v, unsigned n) { return v << n | v >> (64 - n); }
    void add(unsigned i, u64 word) { lane[i] = rotate((lane[i] ^ word) * 0x9e3779b97f4a7c15, 29) + 0xb7e151628aed2a6b; }
    void page(u64 pa, const u8 *data) {
        add(0, pa);
        for (unsigned i = 0; i < PAGE; i += 32)
            for (unsigned k = 0; k < 4; k++) add(k, load_host<u64>(data + i + 8 * k));
    }
    static u64 finish(u64 v) {
        v = (v ^ v >> 32) * 0x9e3779b97f4a7c15;
        v = (v ^ v >> 29) * 0xb7e151628aed2a6b;
        return v ^ v >> 32;
    }
};

PyObject *memory_digest(PyObject *o, PyObject *) {
    PyMemory *m = self_of(o);
    if (!require_parked(m)) return nullptr;
    Hash hash;
    Py_BEGIN_ALLOW_THREADS
    each_used_page(m, [&](u64 pa, const u8 *page) {
        hash.page(pa, page);
        return true;
    });
    Py_END_ALLOW_THREADS
    u64 out[2] = {Hash::finish(hash.lane[0] ^ Hash::finish(hash.lane[1])), Hash::finish(hash.lane[2] ^ Hash::finish(hash.lane[3]))};
    out[0] ^= Hash::finish(out[1]);
    return PyBytes_FromStringAndSize(reinterpret_cast<const char *>(out), sizeof out);
}

// --------------------------------------------------------------------------------------------------------- attributes

PyObject *memory_get_a20(PyObject *o, void *) { return PyBool_FromLong(self_of(o)->memory->a20_mask == ~u64(0)); }

int memory_set_a20(PyObject *o, PyObject *value, void *) {
    PyMemory *m = self_of(o);
    if (!value) {
        PyErr_SetString(PyExc_TypeError, "a20 cannot be deleted");
        return -1;
    }
    int on = PyObject_IsTrue(value);
    if (on < 0 || !require_parked(m)) return -1;
    u64 mask = on ? ~u64(0) : ~(u64(1) << 20);
    if (mask != m->memory->a20_mask) {
        m->memory->a20_mask = mask;
        m->memory->changed();
    }
    return 0;
}

PyGetSetDef memory_getset[] = {
    {"a20", memory_get_a20, memory_set_a20, "Whether address line 20 is let through.  While it is not, bit 20 of every address is zero.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMemberDef memory_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyMemory, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

}  // namespace

HostBlock::~HostBlock() {
    if (lent.obj) {
        PyGILState_STATE held = PyGILState_Ensure();
        PyBuffer_Release(&lent);
        PyGILState_Release(held);
    } else {
        unmap_host(host, size);
    }
    unmap_host(flags, flags_size);
}

PyObject *memory_set_port_handlers(PyObject *, PyObject *, PyObject *);
PyObject *memory_map_port(PyObject *, PyObject *, PyObject *);
PyObject *memory_unmap_port(PyObject *, PyObject *, PyObject *);

namespace {
#define KEYWORDS(f) reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f)), METH_VARARGS | METH_KEYWORDS
#define FAST(f) reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f)), METH_FASTCALL
PyMethodDef memory_methods[] = {
    {"map_ram", KEYWORDS(memory_map_ram),
     "map_ram(start, size, *, rom=False, contents=None, buffer=None): host memory, lazily zero.  Whole pages.  ROM swallows the "
     "guest's writes.  buffer: writable memory of somebody else's to use instead, as it is; it is held until it is unmapped."},
    {"map_device", KEYWORDS(memory_map_device),
     "map_device(start, size, read, write, *, offset=0, cells=None, readers=None, writers=None, counter=None): read(offset, size) -> "
     "int and "
     "write(offset, value, size) answer the guest, offsets counted from `offset`.  cells: (values, rules, writable, clears), the "
     "registers that the engine serves by itself (see vmcore.hardware.Cells); readers, writers: {(offset, size): callable}, "
     "asked instead with () or (value).  counter: (offset, size, state), a register that counts guest time (see "
     "vmcore.hardware.Counter)."},
    {"map_alias", KEYWORDS(memory_map_alias),
     "map_alias(start, size, target, *, rom=False): shows the RAM or ROM at target once more; rom makes this view read-only."},
    {"map_planes", KEYWORDS(memory_map_planes),
     "map_planes(start, size, target, registers, *, offset=0): shows the RAM region that begins at target as a VGA's planes; registers: the buffer "
     "that says how (see vmcore.devices.vga_memory)."},
    {"unmap", KEYWORDS(memory_unmap), "unmap(start, size): takes out the region that was mapped exactly there."},
    {"regions", memory_regions, METH_NOARGS, "regions() -> list of (start, size, kind), by address."},
    {"read", FAST(memory_read), "read(address, size) -> bytes as a bus master sees them; device space and holes read as ones."},
    {"write", FAST(memory_write), "write(address, data): as a bus master; ROM, device space and holes swallow it."},
    {"load", FAST(memory_load), "load(address, data): writes RAM and ROM; ValueError where there is neither."},
    {"dirty_pages", KEYWORDS(memory_dirty_pages),
     "dirty_pages(start=0, size=2**52, *, clear=True, reader=0) -> addresses of the pages written since this reader (0 or 1) last "
     "cleared them."},
    {"used_pages", memory_used_pages, METH_NOARGS, "used_pages() -> addresses of the pages of RAM and ROM that are not all zeros."},
    {"digest", memory_digest, METH_NOARGS, "digest() -> 16 bytes that depend on every byte of RAM and ROM and its address."},
    {"set_port_handlers", KEYWORDS(memory_set_port_handlers),
     "set_port_handlers(read, write, read_bulk=None, write_bulk=None): for ports that nobody mapped; offsets are port numbers."},
    {"map_port", KEYWORDS(memory_map_port),
     "map_port(port, count, read, write, read_bulk=None, write_bulk=None, *, offset=0, cells=None, readers=None, writers=None, counter=None): "
     "the last five as for map_device; write_bulk also gets the bytes that cells let the engine collect."},
    {"unmap_port", KEYWORDS(memory_unmap_port), "unmap_port(port, count): takes back what was mapped exactly there."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot memory_slots[] = {
    {Py_tp_new, reinterpret_cast<void *>(memory_new)},
    {Py_tp_dealloc, reinterpret_cast<void *>(memory_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void *>(memory_traverse)},
    {Py_tp_clear, reinterpret_cast<void *>(memory_clear)},
    {Py_tp_methods, memory_methods},
    {Py_tp_getset, memory_getset},
    {Py_tp_members, memory_members},
    {Py_tp_doc, const_cast<char *>("Guest-physical memory and I/O ports, shared by the vCPUs of one machine.")},
    {0, nullptr},
};
}  // namespace

PyType_Spec memory_spec = {
    "vmcore.engine._native.PhysicalMemory", sizeof(PyMemory), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, memory_slots,
};

// ------------------------------------------------------------------------------------------------ accesses by the guest

u64 device_read(Memory &memory, Cpu *cpu, const Region &region, u64 offset, unsigned size) {
    auto *m = static_cast<PyMemory *>(memory.owner);
    m->mmio_reads++;
    if (cpu) cpu->stats.device_accesses++;
    const u32 id = region.id;  // Python may change the map: the region is gone then
    if (Planes *planes = (*m->mappings)[id].planes.get()) return planes->read(offset, size);
    const DeviceAccess &access = (*m->mappings)[id].access;
    offset += access.shift;
    if (const Cells *cells = access.cells.get(); cells && (cpu ? cells->answers(*cpu, offset, size) : cells->rule(offset, size) & Cells::READ))
        return cells->value(offset, size);
    if (access.counter && cpu && access.counter->answers(offset, size)) return access.counter->read(guest_ns(*cpu), offset, size);
    if (UNLIKELY(m->error)) return size == 8 ? ~u64(0) : (u64(1) << 8 * size) - 1;
    Gil gil(m);
    return call_read(m, (*m->mappings)[id].access, offset, size, "memory");
}

void device_write(Memory &memory, Cpu *cpu, const Region &region, u64 offset, u64 value, unsigned size) {
    auto *m = static_cast<PyMemory *>(memory.owner);
    m->mmio_writes++;
    if (cpu) cpu->stats.device_accesses++;
    if (UNLIKELY(m->error)) return;
    const u32 id = region.id;
    if (Planes *planes = (*m->mappings)[id].planes.get()) return planes->write(memory, offset, value, size);
    const DeviceAccess &access = (*m->mappings)[id].access;
    offset += access.shift;
    if (Cells *cells = access.cells.get()) {
        const u8 rule = cells->rule(offset, size);
        if (rule & Cells::WRITE) return cells->store(offset, value, size);
        if (rule & Cells::KEEP && cells->value(offset, size) == value) return;
    }
    Gil gil(m);
    call_write(m, (*m->mappings)[id].access, offset, value, size);
}
