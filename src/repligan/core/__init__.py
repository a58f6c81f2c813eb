"""What every stage needs: params, files, random draws, the runtime, errors."""
