// The page's sources, report/page/*, compiled in.
#pragma once

namespace linex {

extern const char* const kReportHtml;  ///< with the marks @@CSS@@, @@DATA@@ and @@JS@@
extern const char* const kReportCss;
extern const char* const kReportJs;

}  // namespace linex
