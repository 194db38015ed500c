module gcsshim

go 1.25
