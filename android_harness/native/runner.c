/* Runs .tflite files through LiteRT's C API and says, one JSON line for each fact, what it found.
 *
 * The same source runs on a phone, on an emulated core and on the machine at hand. libLiteRt.so is opened when
 * the program runs, and what is used of its interface is declared below, so no headers are needed. What it is
 * asked comes as --name=value (android_harness/runner.py writes them and reads the answer). Any failure is one
 * line on stderr, the same as a line of the answer, and exit code 1.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MARK "@footseg "
#define MAX_MODELS 16
#define MAX_TENSORS 16
#define MAX_CORES CPU_SETSIZE
#define MAX_RANK 8
/* Arguments of a getpid, which looks at none, that tell the counting plugin (count.c) what begins or ends. */
#define MAGIC 0x666f6f74736567ULL

/* ---- what is used of LiteRT's interface ---- */

enum { FLOAT32 = 1, UINT8 = 3, INT8 = 9 };
enum { PER_TENSOR = 1 };
enum { CPU = 1 };
enum { LOCK_READ = 0, LOCK_WRITE = 1 };
/* Kinds of profiler events: an operator of the file, one inside a delegate, one a delegate tells as its own. */
enum { EVENTS = 2 | 4 | 8 };

typedef struct {
    int32_t element_type;
    uint8_t rank; /* the highest bit is a flag of its own */
    uint8_t padding[3];
    int32_t dimensions[MAX_RANK];
    uint32_t strides[MAX_RANK];
} TensorType;

typedef struct {
    float scale;
    int64_t zero_point;
} Quantization;

typedef struct {
    const char *tag;
    int32_t type;
    uint64_t start_us, elapsed_us;
    int64_t memory_before[3], memory_after[3];
    uint64_t metadata[2];
    int32_t source;
} Event;

/* name, result and arguments of each function; handles are pointers whose inside is LiteRT's own. */
#define LITERT_FUNCTIONS(F)                                                                                  \
    F(CreateEnvironment, int, (int, const void *, void **))                                                  \
    F(CreateModelFromFile, int, (void *, const char *, void **))                                             \
    F(GetModelSignature, int, (void *, size_t, void **))                                                     \
    F(GetNumSignatureInputs, int, (void *, size_t *))                                                        \
    F(GetNumSignatureOutputs, int, (void *, size_t *))                                                       \
    F(GetSignatureInputName, int, (void *, size_t, const char **))                                           \
    F(GetSignatureOutputName, int, (void *, size_t, const char **))                                          \
    F(GetSignatureInputTensorByIndex, int, (void *, size_t, void **))                                        \
    F(GetSignatureOutputTensorByIndex, int, (void *, size_t, void **))                                       \
    F(GetRankedTensorType, int, (void *, TensorType *))                                                      \
    F(GetQuantizationTypeId, int, (void *, int *))                                                           \
    F(GetPerTensorQuantization, int, (void *, Quantization *))                                               \
    F(CreateOptions, int, (void **))                                                                         \
    F(SetOptionsHardwareAccelerators, int, (void *, int))                                                    \
    F(CreateOpaqueOptions, int, (const char *, void *, void (*)(void *), void **))                           \
    F(AddOpaqueOptions, int, (void *, void *))                                                               \
    F(CreateCompiledModel, int, (void *, void *, void *, void **))                                           \
    F(GetCompiledModelInputBufferRequirements, int, (void *, size_t, size_t, void **))                       \
    F(GetCompiledModelOutputBufferRequirements, int, (void *, size_t, size_t, void **))                      \
    F(CreateManagedTensorBufferFromRequirements, int, (void *, const TensorType *, void *, void **))         \
    F(GetTensorBufferPackedSize, int, (void *, size_t *))                                                    \
    F(LockTensorBuffer, int, (void *, void **, int))                                                         \
    F(UnlockTensorBuffer, int, (void *))                                                                     \
    F(RunCompiledModel, int, (void *, size_t, size_t, void **, size_t, void **))                             \
    F(CompiledModelIsFullyAccelerated, int, (void *, bool *))                                                \
    F(CompiledModelGetProfiler, int, (void *, void **))                                                      \
    F(StartProfiler, int, (void *))                                                                          \
    F(StopProfiler, int, (void *))                                                                           \
    F(ResetProfiler, int, (void *))                                                                          \
    F(GetNumProfilerEvents, int, (void *, int *))                                                            \
    F(GetProfilerEvents, int, (void *, int, Event *))

#define DECLARE(name, result, arguments) result(*name) arguments;
typedef struct {
    LITERT_FUNCTIONS(DECLARE)
} LiteRt;

/* ---- saying things ---- */

static void print_string(const char *text) {
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if (*c < 0x20)
            printf("\\u%04x", *c);
        else
            putchar(*c);
    }
    putchar('"');
}

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    printf("\n" MARK "{\"error\": ");
    print_string(text);
    printf("}\n");
    fflush(stdout);
    fprintf(stderr, "footseg-runner: %s\n", text);
    exit(1);
}

static void *allocate(size_t size) {
    void *memory = malloc(size ? size : 1);
    if (!memory)
        die("no memory for %zu bytes", size);
    return memory;
}

static char *copy_of(const char *text) {
    size_t size = strlen(text) + 1;
    return memcpy(allocate(size), text, size);
}

static void say_numbers(const char *name, const double *values, int count) {
    printf(MARK "{\"%s\": [", name);
    for (int i = 0; i < count; i++)
        printf("%s%.6f", i ? ", " : "", values[i]);
    printf("]}\n");
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/* A line of /proc/self/status in bytes; -1 where there is none. */
static double memory(const char *field) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double found = -1;
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, field, strlen(field)) && line[strlen(field)] == ':')
            found = strtod(line + strlen(field) + 1, NULL) * 1024;
    if (file)
        fclose(file);
    return found;
}

/* ---- what is asked ---- */

typedef struct {
    const char *library, *images, *masks, *outputs, *models[MAX_MODELS];
    int count, threads, warmup, runs, rounds, turn, profile, zero_point;
    bool calibrate, mark;
    float scale;
    const char *pin;
} Plan;

static int whole(const char *name, const char *text, int least) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || !*text || *end || value < least || value > INT32_MAX)
        die("--%s=%s: a whole number, %d or more, is needed", name, text, least);
    return (int)value;
}

static float positive(const char *name, const char *text) {
    char *end;
    float value = strtof(text, &end);
    if (!*text || *end || !(value > 0) || isinf(value))
        die("--%s=%s: a positive number is needed", name, text);
    return value;
}

static Plan read_plan(int argc, char **argv) {
    Plan plan = {.threads = 1, .turn = 6};
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (strncmp(argv[i], "--", 2) || !value)
            die("%s is not --name=value", argv[i]);
        *value++ = 0;
        const char *name = argv[i] + 2;
        if (!strcmp(name, "library"))
            plan.library = value;
        else if (!strcmp(name, "model") && plan.count == MAX_MODELS)
            die("more than %d models", MAX_MODELS);
        else if (!strcmp(name, "model"))
            plan.models[plan.count++] = value;
        else if (!strcmp(name, "images"))
            plan.images = value;
        else if (!strcmp(name, "masks"))
            plan.masks = value;
        else if (!strcmp(name, "outputs"))
            plan.outputs = value;
        else if (!strcmp(name, "threads"))
            plan.threads = whole(name, value, 1);
        else if (!strcmp(name, "warmup"))
            plan.warmup = whole(name, value, 0);
        else if (!strcmp(name, "runs"))
            plan.runs = whole(name, value, 0);
        else if (!strcmp(name, "rounds"))
            plan.rounds = whole(name, value, 0);
        else if (!strcmp(name, "turn"))
            plan.turn = whole(name, value, 2);
        else if (!strcmp(name, "profile"))
            plan.profile = whole(name, value, 0);
        else if (!strcmp(name, "zero-point"))
            plan.zero_point = whole(name, value, INT32_MIN);
        else if (!strcmp(name, "calibrate"))
            plan.calibrate = whole(name, value, 0);
        else if (!strcmp(name, "mark"))
            plan.mark = whole(name, value, 0);
        else if (!strcmp(name, "scale"))
            plan.scale = positive(name, value);
        else if (!strcmp(name, "pin"))
            plan.pin = value;
        else
            die("--%s is unknown", name);
    }
    if (!plan.library || !plan.count)
        die("--library and --model are needed");
    if ((plan.masks || plan.outputs) && !plan.images)
        die("--masks and --outputs are of --images");
    return plan;
}

/* ---- the process ---- */

static void pin(const char *cores) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (char *word = strtok(copy_of(cores), ","); word; word = strtok(NULL, ",")) {
        int core = whole("pin", word, 0);
        if (core >= MAX_CORES)
            die("--pin=%s: cores are numbered below %d", cores, MAX_CORES);
        CPU_SET(core, &set);
    }
    if (sched_setaffinity(0, sizeof set, &set))
        die("cannot run on the cores %s: %s", cores, strerror(errno));
}

static void say_cores(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set))
        return;
    printf(MARK "{\"cores\": [");
    for (int core = 0, any = 0; core < MAX_CORES; core++)
        if (CPU_ISSET(core, &set))
            printf("%s%d", any++ ? ", " : "", core);
    printf("]}\n");
}

/* ---- calibration: a float32 matrix product ---- */

#if defined(__AVX512F__)
#define LANES 16
#define ROWS 8
#define COLUMNS 3
#elif defined(__AVX__)
#define LANES 8
#define ROWS 6
#define COLUMNS 2
#elif defined(__aarch64__)
#define LANES 4
#define ROWS 8
#define COLUMNS 3
#else
#define LANES 4
#define ROWS 4
#define COLUMNS 3
#endif
/* All of a product's factors, 48 KiB each, stay in the second cache and a panel of them in the first. */
enum { M = 96, N = 96, K = 128 };

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));

typedef struct {
    float a[M / ROWS][K][ROWS];
    Vector b[N / (LANES * COLUMNS)][K][COLUMNS];
    Vector c[M / ROWS][N / (LANES * COLUMNS)][ROWS][COLUMNS];
} Product;

_Static_assert(M % ROWS == 0 && N % (LANES * COLUMNS) == 0, "panels are whole");

/* One block of c: its accumulators are all in registers, which is why the loops over them are unrolled. */
static void block(const float (*a)[ROWS], const Vector (*b)[COLUMNS], Vector (*c)[COLUMNS]) {
    Vector sums[ROWS][COLUMNS] = {0};
    for (int k = 0; k < K; k++)
#pragma GCC unroll 8
        for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 3
            for (int column = 0; column < COLUMNS; column++)
                sums[row][column] += a[k][row] * b[k][column];
    memcpy(c, sums, sizeof sums);
}

__attribute__((noinline)) static void multiply(Product *p) {
    for (int column = 0; column < N / (LANES * COLUMNS); column++)
        for (int row = 0; row < M / ROWS; row++)
            block(p->a[row], p->b[column], p->c[row][column]);
    __asm__ volatile("" : : "r"(p) : "memory"); /* The result counts as used. */
}

static Product *new_product(void) {
    Product *p = NULL;
    if (posix_memalign((void **)&p, 64, sizeof *p))
        die("no memory for the calibration");
    float *values = (float *)p;
    for (size_t i = 0; i < sizeof *p / sizeof(float); i++)
        values[i] = (float)(i % 17) / 16;
    return p;
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, int count) {
    qsort(values, count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* GFLOP/s of one thread: the median of five stretches of 20 ms, after one in which the clock rises. */
static void calibrate(Product *p) {
    double found[6];
    for (int stretch = 0; stretch < 6; stretch++) {
        double start = now_ms(), end = start;
        long products = 0;
        for (; end - start < 20; end = now_ms(), products++)
            multiply(p);
        found[stretch] = 2.0 * M * N * K * products / (end - start) / 1e6;
    }
    printf(MARK "{\"gflops\": %.3f}\n", median(found + 1, 5));
}

/* ---- a model ---- */

typedef struct {
    const char *name;
    TensorType type;
    Quantization quantization; /* scale 0: none */
    void *buffer;
    size_t size;
} Tensor;

typedef struct {
    const LiteRt *api;
    const char *path;
    void *compiled;
    size_t inputs, outputs;
    Tensor input[MAX_TENSORS], output[MAX_TENSORS];
    void *input_buffers[MAX_TENSORS], *output_buffers[MAX_TENSORS];
} Model;

static LiteRt open_library(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        die("LiteRT cannot be loaded: %s", dlerror());
    LiteRt api;
#define FIND(name, result, arguments)                                                                        \
    if (!(*(void **)&api.name = dlsym(library, "LiteRt" #name)))                                             \
        die("%s has no LiteRt" #name ": take the LiteRT of the version that footseg asks for", path);
    LITERT_FUNCTIONS(FIND)
    return api;
}

/* Every failure of LiteRT is one of a step with a file. */
static void step(int status, const char *what, const char *path) {
    if (status)
        die("LiteRT cannot %s %s (status %d)", what, path, status);
}

static void read_tensor(const Model *model, void *handle, Tensor *tensor) {
    const LiteRt *api = model->api;
    step(api->GetRankedTensorType(handle, &tensor->type), "tell the tensors of", model->path);
    int quantized = 0;
    if (!api->GetQuantizationTypeId(handle, &quantized) && quantized == PER_TENSOR)
        step(api->GetPerTensorQuantization(handle, &tensor->quantization), "tell the quantization of", model->path);
    tensor->type.rank &= 0x7f;
    if (tensor->type.rank > MAX_RANK)
        die("%s has a tensor %s of more than %d dimensions", model->path, tensor->name, MAX_RANK);
    for (int i = 0; i < tensor->type.rank; i++)
        if (tensor->type.dimensions[i] < 1)
            die("%s has a tensor %s without a fixed shape: export it with one", model->path, tensor->name);
}

static void make_buffer(const Model *model, void *environment, void *requirements, Tensor *tensor) {
    const LiteRt *api = model->api;
    step(
        api->CreateManagedTensorBufferFromRequirements(environment, &tensor->type, requirements, &tensor->buffer),
        "allocate the tensors of", model->path);
    step(api->GetTensorBufferPackedSize(tensor->buffer, &tensor->size), "allocate the tensors of", model->path);
}

/* How LiteRT is asked for tensors: there is a function for inputs and one for outputs of each question. */
typedef struct {
    int (*name)(void *, size_t, const char **);
    int (*tensor)(void *, size_t, void **);
    int (*requirements)(void *, size_t, size_t, void **);
} Ask;

static void open_tensors(
    const Model *model, void *environment, void *signature, Ask ask, size_t count, Tensor *tensors, void **buffers) {
    void *handle, *requirements;
    for (size_t i = 0; i < count; i++) {
        Tensor *tensor = &tensors[i];
        step(ask.name(signature, i, &tensor->name), "name the tensors of", model->path);
        step(ask.tensor(signature, i, &handle), "tell the tensors of", model->path);
        read_tensor(model, handle, tensor);
        step(ask.requirements(model->compiled, 0, i, &requirements), "tell the tensors of", model->path);
        make_buffer(model, environment, requirements, tensor);
        buffers[i] = tensor->buffer;
    }
}

static void add_option(const LiteRt *api, void *options, const char *name, char *text) {
    void *opaque;
    step(api->CreateOpaqueOptions(name, text, free, &opaque), "take the options", name);
    step(api->AddOpaqueOptions(options, opaque), "take the options", name);
}

static void *compile(const Model *model, void *environment, void *file, int threads, bool profile) {
    const LiteRt *api = model->api;
    void *options, *compiled;
    char *text;
    step(api->CreateOptions(&options), "make options for", model->path);
    step(api->SetOptionsHardwareAccelerators(options, CPU), "run on the processor", model->path);
    if (asprintf(&text, "num_threads = %d\n", threads) < 0)
        die("no memory for options");
    add_option(api, options, "xnnpack", text);
    if (profile)
        add_option(api, options, "runtime_options_string", copy_of("enable_profiling = true\n"));
    step(api->CreateCompiledModel(environment, file, options, &compiled), "compile", model->path);
    return compiled;
}

/* What a .tflite begins with: LiteRT takes some other files for its own and does not come back. */
static void check_file(const char *path) {
    char head[8] = {0};
    FILE *file = fopen(path, "rb");
    if (!file)
        die("cannot open %s: %s", path, strerror(errno));
    size_t got = fread(head, 1, sizeof head, file);
    fclose(file);
    if (got < sizeof head || memcmp(head + 4, "TFL3", 4))
        die("%s is not a .tflite file (it has no TFL3 mark)", path);
}

static Model load(const LiteRt *api, void *environment, const char *path, int threads, bool profile) {
    Model model = {.api = api, .path = path};
    void *file, *signature;
    check_file(path);
    step(api->CreateModelFromFile(environment, path, &file), "read", path);
    step(api->GetModelSignature(file, 0, &signature), "find a signature in", path);
    step(api->GetNumSignatureInputs(signature, &model.inputs), "tell the inputs of", path);
    step(api->GetNumSignatureOutputs(signature, &model.outputs), "tell the outputs of", path);
    if (model.inputs > MAX_TENSORS || model.outputs > MAX_TENSORS)
        die("%s has more than %d inputs or outputs", path, MAX_TENSORS);
    model.compiled = compile(&model, environment, file, threads, profile);
    Ask inputs = {api->GetSignatureInputName, api->GetSignatureInputTensorByIndex,
                  api->GetCompiledModelInputBufferRequirements};
    Ask outputs = {api->GetSignatureOutputName, api->GetSignatureOutputTensorByIndex,
                   api->GetCompiledModelOutputBufferRequirements};
    open_tensors(&model, environment, signature, inputs, model.inputs, model.input, model.input_buffers);
    open_tensors(&model, environment, signature, outputs, model.outputs, model.output, model.output_buffers);
    return model;
}

static void *lock(const Model *model, const Tensor *tensor, int mode) {
    void *memory;
    step(model->api->LockTensorBuffer(tensor->buffer, &memory, mode), "reach the tensors of", model->path);
    return memory;
}

static void unlock(const Model *model, const Tensor *tensor) {
    step(model->api->UnlockTensorBuffer(tensor->buffer), "let go of the tensors of", model->path);
}

/* Noise over the input's range, always the same: most kernels' time does not depend on the values. */
static void fill_with_noise(const Model *model) {
    for (size_t i = 0; i < model->inputs; i++) {
        const Tensor *tensor = &model->input[i];
        uint32_t state = 1;
        uint8_t *bytes = lock(model, tensor, LOCK_WRITE);
        bool real = tensor->type.element_type == FLOAT32;
        for (size_t at = 0; at < tensor->size / (real ? sizeof(float) : 1); at++) {
            state = state * 1664525u + 1013904223u;
            if (real)
                ((float *)bytes)[at] = (float)(state >> 8) / 16777216;
            else
                bytes[at] = state >> 24;
        }
        unlock(model, tensor);
    }
}

static void infer(Model *model) {
    int status = model->api->RunCompiledModel(
        model->compiled, 0, model->inputs, model->input_buffers, model->outputs, model->output_buffers);
    step(status, "run", model->path);
}

static double timed(Model *model, bool mark) {
    double start = now_ms();
    if (mark)
        syscall(SYS_getpid, MAGIC, 0);
    infer(model);
    if (mark)
        syscall(SYS_getpid, MAGIC, 1);
    return now_ms() - start;
}

static const char *type_name(int type) {
    static const char *const names[] = {
        "none", "float32", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8",
        "float16", "float64"};
    return type >= 0 && type < (int)(sizeof names / sizeof *names) ? names[type] : "other";
}

static void say_tensors(const char *what, const Tensor *tensors, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const Tensor *tensor = &tensors[i];
        printf(MARK "{\"%s\": {\"name\": ", what);
        print_string(tensor->name);
        printf(", \"type\": \"%s\", \"shape\": [", type_name(tensor->type.element_type));
        for (int d = 0; d < tensor->type.rank; d++)
            printf("%s%d", d ? ", " : "", tensor->type.dimensions[d]);
        printf("], \"scale\": %.9g, \"zero_point\": %lld}}\n", tensor->quantization.scale,
               (long long)tensor->quantization.zero_point);
    }
}

/* ---- images in, masks and outputs out ---- */

static bool is_integer(int type) { return type == INT8 || type == UINT8; }

/* A pixel as footseg.runtime gives it to its networks, bit for bit: numpy's float32 arithmetic. */
static void write_image(const Tensor *tensor, void *memory, const uint8_t *pixels, float scale, int zero_point) {
    int type = tensor->type.element_type;
    size_t count = tensor->size / (type == FLOAT32 ? sizeof(float) : 1);
    float least = type == INT8 ? -128 : 0, most = type == INT8 ? 127 : 255;
    for (size_t i = 0; i < count; i++) {
        float value = (float)pixels[i] / 255.0f;
        if (type == FLOAT32) {
            ((float *)memory)[i] = value;
            continue;
        }
        value = fminf(fmaxf(rintf(value / scale) + zero_point, least), most);
        if (type == INT8)
            ((int8_t *)memory)[i] = (int8_t)value;
        else
            ((uint8_t *)memory)[i] = (uint8_t)value;
    }
}

static float logit(const void *memory, int type, size_t at) {
    if (type == FLOAT32)
        return ((const float *)memory)[at];
    return type == INT8 ? ((const int8_t *)memory)[at] : ((const uint8_t *)memory)[at];
}

/* The largest channel's number; a single channel is a class already, or the probability of the second of two. */
static void find_mask(const Tensor *tensor, const void *memory, uint8_t *mask, size_t pixels) {
    int type = tensor->type.element_type, classes = tensor->type.dimensions[3];
    for (size_t pixel = 0; pixel < pixels; pixel++) {
        int best = classes == 1 ? (int)rintf(logit(memory, type, pixel)) : 0;
        for (int c = 1; c < classes; c++)
            if (logit(memory, type, pixel * classes + c) > logit(memory, type, pixel * classes + best))
                best = c;
        mask[pixel] = (uint8_t)best;
    }
}

static void check_shapes(const Model *model, bool masks) {
    const TensorType *in = &model->input[0].type, *out = &model->output[0].type;
    if (model->inputs != 1 || in->rank != 4 || in->dimensions[0] != 1 || in->dimensions[3] != 3)
        die("%s does not take one image (1, H, W, 3)", model->path);
    if (in->element_type != FLOAT32 && !is_integer(in->element_type))
        die("%s takes images of %s: float32, int8 and uint8 are known", model->path, type_name(in->element_type));
    if (!masks)
        return;
    if (model->outputs != 1 || out->rank != 4 || out->dimensions[0] != 1 ||
        out->dimensions[1] != in->dimensions[1] || out->dimensions[2] != in->dimensions[2] ||
        out->dimensions[3] > 256)
        die("%s does not give one map (1, H, W, channels) of its image's size", model->path);
    if (out->element_type != FLOAT32 && !is_integer(out->element_type))
        die("%s gives %s: masks are made of float32, int8 and uint8", model->path, type_name(out->element_type));
    if (out->element_type != FLOAT32 && out->dimensions[3] == 1)
        die("%s gives one channel of %s: such masks are float32", model->path, type_name(out->element_type));
}

static FILE *open_file(const char *path, const char *how) {
    FILE *file = path ? fopen(path, how) : NULL;
    if (path && !file)
        die("cannot open %s: %s", path, strerror(errno));
    return file;
}

static void write_all(FILE *file, const char *path, const void *bytes, size_t size) {
    if (fwrite(bytes, 1, size, file) != size)
        die("cannot write %s: %s", path, strerror(errno));
}

static void close_file(FILE *file, const char *path) {
    if (file && fclose(file))
        die("cannot write %s: %s", path, strerror(errno));
}

static void run_images(Model *model, const Plan *plan) {
    check_shapes(model, plan->masks);
    const Tensor *in = &model->input[0];
    size_t pixels = (size_t)in->type.dimensions[1] * in->type.dimensions[2];
    bool integer = is_integer(in->type.element_type);
    float scale = plan->scale > 0 ? plan->scale : in->quantization.scale;
    int zero_point = plan->scale > 0 ? plan->zero_point : (int)in->quantization.zero_point;
    if (integer ? scale <= 0 : plan->scale > 0)
        die("%s takes %s, and its scale is %g", model->path, type_name(in->type.element_type), scale);
    FILE *images = open_file(plan->images, "rb");
    struct stat facts;
    if (fstat(fileno(images), &facts) || facts.st_size == 0 || facts.st_size % (pixels * 3))
        die("%s has %lld bytes: that is no whole number of images of %d x %d x 3", plan->images,
            (long long)facts.st_size, in->type.dimensions[1], in->type.dimensions[2]);
    FILE *masks = open_file(plan->masks, "wb"), *outputs = open_file(plan->outputs, "wb");
    uint8_t *image = allocate(pixels * 3), *mask = allocate(pixels);
    long count = facts.st_size / (pixels * 3);
    for (long i = 0; i < count; i++) {
        if (fread(image, 3, pixels, images) != pixels)
            die("cannot read %s: it ends at image %ld of %ld", plan->images, i + 1, count);
        write_image(in, lock(model, in, LOCK_WRITE), image, scale, zero_point);
        unlock(model, in);
        infer(model);
        for (size_t o = 0; o < model->outputs; o++) {
            const Tensor *out = &model->output[o];
            void *memory = lock(model, out, LOCK_READ);
            if (masks) {
                find_mask(out, memory, mask, pixels);
                write_all(masks, plan->masks, mask, pixels);
            }
            if (outputs)
                write_all(outputs, plan->outputs, memory, out->size);
            unlock(model, out);
        }
    }
    close_file(masks, plan->masks);
    close_file(outputs, plan->outputs);
    fclose(images);
    free(image);
    free(mask);
    printf(MARK "{\"images\": %ld}\n", count);
}

/* ---- timing ---- */

static void time_runs(Model *models, const Plan *plan) {
    double *samples = allocate(plan->runs * sizeof *samples);
    for (int m = 0; m < plan->count; m++) {
        for (int i = 0; i < plan->runs; i++)
            samples[i] = timed(&models[m], plan->mark);
        say_numbers("samples_ms", samples, plan->runs);
    }
    free(samples);
}

static double time_turn(Model *model, int inferences, double *samples) {
    infer(model); /* in caches that another file has just used */
    for (int i = 1; i < inferences; i++)
        samples[i - 1] = timed(model, false);
    return median(samples, inferences - 1);
}

static void time_rounds(Model *models, const Plan *plan) {
    double *turns = allocate((size_t)plan->count * plan->rounds * sizeof *turns);
    double *samples = allocate(plan->turn * sizeof *samples);
    for (int round = 0; round < plan->rounds; round++)
        for (int i = 0; i < plan->count; i++) {
            int m = round % 2 ? plan->count - 1 - i : i;
            turns[(size_t)m * plan->rounds + round] = time_turn(&models[m], plan->turn, samples);
        }
    for (int m = 0; m < plan->count; m++)
        say_numbers("samples_ms", turns + (size_t)m * plan->rounds, plan->rounds);
    free(turns);
    free(samples);
}

/* A second copy of the file: the first, which was timed, has no profiler in it. */
static void profile(const LiteRt *api, void *environment, const Plan *plan) {
    Model model = load(api, environment, plan->models[0], plan->threads, true);
    void *profiler;
    fill_with_noise(&model);
    infer(&model);
    step(api->CompiledModelGetProfiler(model.compiled, &profiler), "profile", model.path);
    for (int run = 0; run < plan->profile; run++) {
        int count = 0;
        step(api->StartProfiler(profiler), "profile", model.path);
        infer(&model);
        step(api->StopProfiler(profiler), "profile", model.path);
        step(api->GetNumProfilerEvents(profiler, &count), "profile", model.path);
        Event *events = allocate(count * sizeof *events);
        if (count)
            step(api->GetProfilerEvents(profiler, count, events), "profile", model.path);
        for (int i = 0; i < count; i++) {
            if (!(events[i].type & EVENTS))
                continue; /* of the run as a whole */
            printf(MARK "{\"operator\": [");
            print_string(events[i].tag);
            printf(", %llu]}\n", (unsigned long long)events[i].elapsed_us);
        }
        free(events);
        step(api->ResetProfiler(profiler), "profile", model.path);
    }
}

int main(int argc, char **argv) {
    Plan plan = read_plan(argc, argv);
    if (plan.pin)
        pin(plan.pin);
    say_cores();
    Product *product = plan.calibrate ? new_product() : NULL;
    LiteRt api = open_library(plan.library);
    void *environment;
    step(api.CreateEnvironment(0, NULL, &environment), "start", plan.library);
    Model *models = allocate(plan.count * sizeof *models);
    double before = memory("VmRSS");
    for (int m = 0; m < plan.count; m++) {
        double start = now_ms();
        models[m] = load(&api, environment, plan.models[m], plan.threads, false);
        printf(MARK "{\"load_ms\": %.6f}\n", now_ms() - start);
        fill_with_noise(&models[m]);
        printf(MARK "{\"first_ms\": %.6f}\n", timed(&models[m], false));
    }
    say_tensors("input", models[0].input, models[0].inputs);
    say_tensors("output", models[0].output, models[0].outputs);
    bool accelerated = false;
    if (!api.CompiledModelIsFullyAccelerated(models[0].compiled, &accelerated))
        printf(MARK "{\"fully_accelerated\": %s}\n", accelerated ? "true" : "false");
    if (product)
        calibrate(product);
    for (int m = 0; m < plan.count; m++)
        for (int i = 0; i < plan.warmup; i++)
            infer(&models[m]);
    if (plan.rounds)
        time_rounds(models, &plan);
    else if (plan.runs)
        time_runs(models, &plan);
    if (product)
        calibrate(product);
    if (plan.images)
        run_images(&models[0], &plan);
    double peak = memory("VmHWM");
    if (before >= 0 && peak >= before)
        printf(MARK "{\"peak_memory_mb\": %.3f}\n", (peak - before) / 1e6);
    if (plan.profile)
        profile(&api, environment, &plan);
    printf(MARK "{\"done\": true}\n");
    if (fflush(stdout) || ferror(stdout))
        die("cannot write to stdout: %s", strerror(errno));
    _exit(0); /* Nothing is left to do but to take LiteRT apart, which the system does faster. */
}
