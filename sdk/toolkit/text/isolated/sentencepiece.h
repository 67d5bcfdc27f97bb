/* The few calls linex needs of SentencePiece, as C functions of a library of their own.

   Debian's libsentencepiece.so exports a protobuf of another version than the libprotobuf.so that
   LibTorch loads; in one symbol scope the process crashes before main(). So nothing links it but
   this module, which is loaded on demand with a scope of its own (siglip_tokenizer.cpp). */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct linex_sentencepiece {
  /* Model from the bytes of a .model file, or null. */
  void* (*open)(const char* bytes, size_t size);
  void (*close)(void* model);
  int (*size)(const void* model);
  int (*end_token)(const void* model);                /* -1 = none */
  int (*token)(const void* model, const char* piece); /* its id, -1 where it is none */
  /* Writes up to `capacity` ids of UTF-8 text; returns how many there are, -1 on failure.
     [any thread] */
  int (*encode)(const void* model, const char* text, size_t size, int* ids, int capacity);
};

/* The one exported symbol. */
extern const struct linex_sentencepiece linex_sentencepiece_v2;

#ifdef __cplusplus
}
#endif
