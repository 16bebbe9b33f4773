module example.com/press-watch

go 1.22
