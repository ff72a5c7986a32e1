// This file lets memory.go declare a function that the runtime defines.
