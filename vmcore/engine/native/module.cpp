// The extension module vmcore.engine._native: set-up and helpers.  The types are in module_memory.cpp and module_cpu.cpp.
#include "module.h"

namespace {

#define NAME(name) #name,
const char *const feature_names[] = {VMCORE_FEATURE_NAMES(NAME)};
#undef NAME

int module_exec(PyObject *module) {
    auto *state = static_cast<ModuleState *>(PyModule_GetState(module));
    PyObject *errors = PyImport_ImportModule("vmcore.model.errors");
    if (!errors) return -1;
    state->usage_error = PyObject_GetAttrString(errors, "UsageError");
    Py_DECREF(errors);
    if (!state->usage_error) return -1;
    state->memory_type = reinterpret_cast<PyTypeObject *>(PyType_FromModuleAndSpec(module, &memory_spec, nullptr));
    if (!state->memory_type || PyModule_AddType(module, state->memory_type) < 0) return -1;
    state->cpu_type = reinterpret_cast<PyTypeObject *>(PyType_FromModuleAndSpec(module, &cpu_spec, nullptr));
    if (!state->cpu_type || PyModule_AddType(module, state->cpu_type) < 0) return -1;

    PyObject *names = PyTuple_New(FEATURE_COUNT);
    if (!names) return -1;
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        PyObject *name = PyUnicode_FromString(feature_names[i]);
        if (!name) {
            Py_DECREF(names);
            return -1;
        }
        PyTuple_SET_ITEM(names, Py_ssize_t(i), name);
    }
    int bad = PyModule_AddObjectRef(module, "FEATURES", names);
    Py_DECREF(names);
    return bad;
}

int module_traverse(PyObject *module, visitproc visit, void *arg) {
    auto *state = static_cast<ModuleState *>(PyModule_GetState(module));
    Py_VISIT(state->memory_type);
    Py_VISIT(state->cpu_type);
    Py_VISIT(state->usage_error);
    return 0;
}

int module_clear(PyObject *module) {
    auto *state = static_cast<ModuleState *>(PyModule_GetState(module));
    Py_CLEAR(state->memory_type);
    Py_CLEAR(state->cpu_type);
    Py_CLEAR(state->usage_error);
    return 0;
}

PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, reinterpret_cast<void *>(module_exec)},
    {0, nullptr},
};

}  // namespace

PyModuleDef native_module = {
    PyModuleDef_HEAD_INIT,
    "_native",
    "The native x86 engine: guest-physical memory and vCPUs.  Use it through vmcore.engine.",
    sizeof(ModuleState),
    nullptr,
    module_slots,
    module_traverse,
    module_clear,
    nullptr,
};

PyMODINIT_FUNC PyInit__native() { return PyModuleDef_Init(&native_module); }

ModuleState *state_of(PyObject *self) {
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &native_module);
    return module ? static_cast<ModuleState *>(PyModule_GetState(module)) : nullptr;
}

void keep_error(PyMemory *memory) {
#if PY_VERSION_HEX >= 0x030c0000
    PyObject *value = PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value && traceback) PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
#endif
    if (value && !memory->error) {
        memory->error = value;
        value = nullptr;
    }
    Py_XDECREF(value);
    if (memory->running) pend(*memory->running->cpu, PEND_ERROR);
}

bool require_parked(PyMemory *memory) {
    if (LIKELY(!memory->running || is_running_here(memory))) return true;
    if (ModuleState *state = state_of(reinterpret_cast<PyObject *>(memory)))
        PyErr_SetString(state->usage_error, "the machine is running on another thread: stop it first");
    return false;
}

bool require_not_running(PyMemory *memory, const char *what) {
    if (LIKELY(!memory->running)) return true;
    if (ModuleState *state = state_of(reinterpret_cast<PyObject *>(memory)))
        PyErr_Format(state->usage_error, "%s is not possible while a vCPU of this memory runs: leave the run first", what);
    return false;
}

int unsigned_argument(PyObject *object, const char *name, u64 max, u64 *out) {
    if (PyBool_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: expected an integer, not a bool", name);
        return -1;
    }
    PyObject *index = PyNumber_Index(object);
    if (!index) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "%s: expected an integer, not %.100s", name, Py_TYPE(object)->tp_name);
        return -1;
    }
    u64 value = PyLong_AsUnsignedLongLong(index);
    bool failed = value == u64(-1) && PyErr_Occurred();
    if (failed || value > max) {
        PyErr_Clear();
        char limit[32];
        PyOS_snprintf(limit, sizeof limit, "%#llx", static_cast<unsigned long long>(max));
        PyObject *text = PyNumber_ToBase(index, 16);
        PyErr_Format(PyExc_OverflowError, "%s: %V: expected 0 to %s", name, text, "?", limit);
        Py_XDECREF(text);
        Py_DECREF(index);
        return -1;
    }
    Py_DECREF(index);
    *out = value;
    return 0;
}

PyObject *int_from_bytes(const void *data, size_t size) {
    if (size == 8) return PyLong_FromUnsignedLongLong(load_host<u64>(data));
    return PyObject_CallMethod(reinterpret_cast<PyObject *>(&PyLong_Type), "from_bytes", "y#s", static_cast<const char *>(data),
                               Py_ssize_t(size), "little");
}

int int_to_bytes(PyObject *object, const char *name, void *out, size_t size) {
    if (!PyLong_Check(object) || PyBool_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: expected an integer, not %.100s", name, Py_TYPE(object)->tp_name);
        return -1;
    }
    PyObject *bytes = PyObject_CallMethod(object, "to_bytes", "ns", Py_ssize_t(size), "little");
    if (!bytes) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError))
            PyErr_Format(PyExc_OverflowError, "%s: %R: expected an unsigned integer of %zu bits", name, object, size * 8);
        return -1;
    }
    std::memcpy(out, PyBytes_AS_STRING(bytes), size);
    Py_DECREF(bytes);
    return 0;
}

int callable_argument(PyObject *object, const char *name, bool optional) {
    if (PyCallable_Check(object) || (optional && object == Py_None)) return 0;
    PyErr_Format(PyExc_TypeError, "%s: expected a callable%s, not %.100s", name, optional ? " or None" : "",
                 Py_TYPE(object)->tp_name);
    return -1;
}
