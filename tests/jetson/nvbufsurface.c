/* A small libnvbufsurface: surfaces and EGL images without a Jetson.
 *
 * Its structures are written in the public header's order of fields, on their own: the C compiler,
 * and not layout.py, says where each lies. It is strict where NVIDIA's would crash or leak. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum color_format { COLOR_INVALID, COLOR_GRAY8, COLOR_LAST = 91 };
enum layout { LAYOUT_PITCH, LAYOUT_BLOCK_LINEAR };
enum mem_type { MEM_DEFAULT, MEM_PINNED, MEM_DEVICE, MEM_UNIFIED, MEM_SURFACE_ARRAY };

typedef struct {
  uint32_t num_planes;
  uint32_t width[4], height[4], pitch[4], offset[4], psize[4], bytesPerPix[4];
  void *reserved[16];
} NvBufSurfacePlaneParams;

typedef struct {
  void *addr[4];
  void *eglImage;
  void *reserved[4];
} NvBufSurfaceMappedAddr;

typedef struct {
  uint32_t width, height, pitch;
  enum color_format colorFormat;
  enum layout layout;
  uint64_t bufferDesc;
  uint32_t dataSize;
  void *dataPtr;
  NvBufSurfacePlaneParams planeParams;
  NvBufSurfaceMappedAddr mappedAddr;
  struct extended *paramex;
  void *reserved[3];
} NvBufSurfaceParams;

typedef struct {
  uint32_t gpuId, batchSize, numFilled;
  bool isContiguous;
  enum mem_type memType;
  NvBufSurfaceParams *surfaceList;
  void *reserved[4];
} NvBufSurface;

#define IMAGES (1 << 16)
struct image { int64_t fd; bool alive; };
static struct image images[IMAGES];
static int made, alive, misused, fails_to_map, fails_to_unmap, maps_nothing;
static void (*listener)(const char *);

static void say(const char *what) { if (listener) listener(what); }

static bool once(int *flag) { bool was = *flag; *flag = 0; return was; }

static struct image *image_of(void *handle) {
  struct image *image = handle;
  return image >= images && image < images + made ? image : NULL;
}

int NvBufSurfaceMapEglImage(NvBufSurface *surface, int index) {
  NvBufSurfaceParams *params = &surface->surfaceList[index];
  if (once(&fails_to_map)) { say("map fails"); return -1; }
  if (params->mappedAddr.eglImage || made == IMAGES) { misused++; return -1; }
  say("map");
  if (once(&maps_nothing)) return 0;
  images[made] = (struct image){(int64_t)params->bufferDesc, true};
  params->mappedAddr.eglImage = &images[made++];
  alive++;
  return 0;
}

int NvBufSurfaceUnMapEglImage(NvBufSurface *surface, int index) {
  NvBufSurfaceParams *params = &surface->surfaceList[index];
  if (!params->mappedAddr.eglImage) return -1;
  struct image *image = image_of(params->mappedAddr.eglImage);
  if (!image || !image->alive) { misused++; return -1; }
  say("unmap");
  image->alive = false;
  params->mappedAddr.eglImage = NULL;
  alive--;
  return once(&fails_to_unmap) ? -1 : 0;
}

/* What a test needs besides. */

void fake_reset(void (*to)(const char *)) {
  made = alive = misused = fails_to_map = fails_to_unmap = maps_nothing = 0;
  listener = to;
}

int fake_alive(void) { return alive; }

int fake_misused(void) { return misused; }

void fake_fail(const char *step) {
  if (!strcmp(step, "map")) fails_to_map = 1;
  if (!strcmp(step, "map nothing")) maps_nothing = 1;
  if (!strcmp(step, "unmap")) fails_to_unmap = 1;
}

/* The dma-buf of a live image, -1 for any other. */
int64_t fake_buffer_of(void *handle) {
  struct image *image = image_of(handle);
  return image && image->alive ? image->fd : -1;
}

NvBufSurface *fake_create(uint32_t width, uint32_t height, uint32_t pitch, uint32_t pixel,
                          int format, int layout, int memory, uint64_t fd) {
  NvBufSurface *surface = calloc(1, sizeof *surface);
  NvBufSurfaceParams *params = calloc(1, sizeof *params);
  surface->batchSize = surface->numFilled = 1;
  surface->memType = memory;
  surface->surfaceList = params;
  params->width = params->planeParams.width[0] = width;
  params->height = params->planeParams.height[0] = height;
  params->pitch = params->planeParams.pitch[0] = pitch;
  params->dataSize = params->planeParams.psize[0] = pitch * height;
  params->planeParams.num_planes = 1;
  params->planeParams.bytesPerPix[0] = pixel;
  params->colorFormat = format;
  params->layout = layout;
  params->bufferDesc = fd;
  return surface;
}

/* Whoever looks at it afterwards sees that it is gone. */
void fake_destroy(NvBufSurface *surface) {
  if (surface->surfaceList) {
    if (surface->surfaceList[0].mappedAddr.eglImage) misused++;
    memset(surface->surfaceList, 0xDD, sizeof *surface->surfaceList);
    free(surface->surfaceList);
  }
  memset(surface, 0xDD, sizeof *surface);
  free(surface);
}

/* Lines of "structure field offset size", and "structure - 0 size" for a whole one. */
const char *fake_layout(void) {
  static char text[4096];
  char *end = text;
#define WHOLE(s) end += sprintf(end, #s " - 0 %zu\n", sizeof(s));
#define FIELD(s, f) end += sprintf(end, #s " " #f " %zu %zu\n", offsetof(s, f), sizeof(((s *)0)->f));
  WHOLE(NvBufSurface)
  FIELD(NvBufSurface, gpuId) FIELD(NvBufSurface, batchSize) FIELD(NvBufSurface, numFilled)
  FIELD(NvBufSurface, isContiguous) FIELD(NvBufSurface, memType)
  FIELD(NvBufSurface, surfaceList) FIELD(NvBufSurface, reserved)
  WHOLE(NvBufSurfaceParams)
  FIELD(NvBufSurfaceParams, width) FIELD(NvBufSurfaceParams, height)
  FIELD(NvBufSurfaceParams, pitch) FIELD(NvBufSurfaceParams, colorFormat)
  FIELD(NvBufSurfaceParams, layout) FIELD(NvBufSurfaceParams, bufferDesc)
  FIELD(NvBufSurfaceParams, dataSize) FIELD(NvBufSurfaceParams, dataPtr)
  FIELD(NvBufSurfaceParams, planeParams) FIELD(NvBufSurfaceParams, mappedAddr)
  FIELD(NvBufSurfaceParams, paramex) FIELD(NvBufSurfaceParams, reserved)
  WHOLE(NvBufSurfacePlaneParams)
  FIELD(NvBufSurfacePlaneParams, num_planes) FIELD(NvBufSurfacePlaneParams, width)
  FIELD(NvBufSurfacePlaneParams, height) FIELD(NvBufSurfacePlaneParams, pitch)
  FIELD(NvBufSurfacePlaneParams, offset) FIELD(NvBufSurfacePlaneParams, psize)
  FIELD(NvBufSurfacePlaneParams, bytesPerPix) FIELD(NvBufSurfacePlaneParams, reserved)
  WHOLE(NvBufSurfaceMappedAddr)
  FIELD(NvBufSurfaceMappedAddr, addr) FIELD(NvBufSurfaceMappedAddr, eglImage)
  FIELD(NvBufSurfaceMappedAddr, reserved)
  return text;
}
