// Whether SigLIP's tokenizer can be loaded: the sanitizers refuse RTLD_DEEPBIND.
#pragma once

namespace linex::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSentencePiece = false;
#else
constexpr bool kSentencePiece = true;
#endif

}  // namespace linex::test
