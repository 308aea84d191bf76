/* What the driver answers: names, numbers and words as in cuda.h. */
#pragma once

#include <map>
#include <utility>

#define RESULTS(X)                                                                                                     \
    X(SUCCESS, 0, "no error")                                                                                          \
    X(ERROR_INVALID_VALUE, 1, "invalid argument")                                                                      \
    X(ERROR_OUT_OF_MEMORY, 2, "out of memory")                                                                         \
    X(ERROR_NOT_INITIALIZED, 3, "initialization error")                                                                \
    X(ERROR_NO_DEVICE, 100, "no CUDA-capable device is detected")                                                      \
    X(ERROR_INVALID_DEVICE, 101, "invalid device ordinal")                                                             \
    X(ERROR_INVALID_CONTEXT, 201, "invalid device context")                                                            \
    X(ERROR_INVALID_PTX, 218, "a PTX JIT compilation failed")                                                          \
    X(ERROR_INVALID_HANDLE, 400, "invalid resource handle")                                                            \
    X(ERROR_ILLEGAL_STATE, 401, "the operation cannot be performed in the present state")                              \
    X(ERROR_NOT_FOUND, 500, "named symbol not found")                                                                  \
    X(ERROR_NOT_READY, 600, "device not ready")                                                                        \
    X(ERROR_ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")                                          \
    X(ERROR_LAUNCH_FAILED, 719, "unspecified launch failure")                                                          \
    X(ERROR_STREAM_CAPTURE_UNSUPPORTED, 900, "operation not permitted when stream is capturing")                       \
    X(ERROR_STREAM_CAPTURE_INVALIDATED, 901, "operation failed due to a previous error during capture")                \
    X(ERROR_STREAM_CAPTURE_IMPLICIT, 906, "operation would make the legacy stream depend on a capturing stream")       \
    X(ERROR_CAPTURED_EVENT, 907, "operation not permitted on an event last recorded in a capturing stream")            \
    X(ERROR_STREAM_CAPTURE_WRONG_THREAD, 908, "attempt to terminate a thread-local capture from another thread")

#define AS_CONSTANT(name, code, meaning) name = code,
#define AS_ROW(name, code, meaning) {code, {"CUDA_" #name, meaning}},
enum { RESULTS(AS_CONSTANT) };
using Result = int;
inline const std::map<Result, std::pair<const char *, const char *>> results = {RESULTS(AS_ROW)};
