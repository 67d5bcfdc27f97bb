function(linex_add_plugin)
endfunction()
