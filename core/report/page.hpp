// The page's sources, report/page/*, compiled in.
#pragma once

namespace linex {

extern const char* const kReportHtml;  ///< marks @@CSS@@, @@DATA@@, @@JS@@, @@CARDS@@ in this order
extern const char* const kReportCss;
extern const char* const kReportJs;

}  // namespace linex
